"""What can go wrong between a client and the service."""


class ChatError(Exception):
    """Everything that this client raises of its own."""


class RefusedError(ChatError):
    """The service has said no; the same request, as it is, will not do better."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        """As in HTTP: 401, 403, 404, 409, 422, …"""
        self.detail = detail


class UnreachableError(ChatError):
    """No service answers, or it cannot at the moment; the same request may do better later."""


class ClosedError(ChatError):
    """The client is closed, or the service has closed it for good."""

    def __init__(self, reason: str, *, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code
        """The close code of the service; None when the client itself was closed."""
        self.reason = reason
