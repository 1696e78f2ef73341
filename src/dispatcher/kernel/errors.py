"""Failures of ours, as exceptions. What a receiver or a channel does is an outcome, not an exception."""


class DispatcherError(Exception):
    """Something the caller can act on; the text names the fix and never holds a secret."""

    status = 500
    title = "Internal error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidRequestError(DispatcherError):
    """The caller asked for something that cannot be."""

    status = 422
    title = "Invalid request"


class UnavailableError(DispatcherError):
    """A server this needs does not answer at the moment; the same call may work later."""

    status = 503
    title = "Temporarily unavailable"


class StartupError(DispatcherError):
    """The process cannot start as it is configured."""

    title = "Cannot start"


class NotFoundError(DispatcherError):
    """What the caller names is not there."""

    status = 404
    title = "Not found"


class ConflictError(DispatcherError):
    """It cannot be done to the thing as it is now."""

    status = 409
    title = "Conflict"


class TooManyRequestsError(DispatcherError):
    """The caller asks more often than it may; the same call works a moment later."""

    status = 429
    title = "Too many requests"


class UnauthenticatedError(DispatcherError):
    """Nobody knows who is asking."""

    status = 401
    title = "Unauthorized"


class ForbiddenError(DispatcherError):
    """Whoever asks is known, and may not."""

    status = 403
    title = "Forbidden"
