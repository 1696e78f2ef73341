"""The one failure of this room."""

from dispatcher.kernel.errors import StartupError


class EmbeddedError(StartupError):
    """An embedded server cannot be had; one text that says why and what to do about it."""

    title = "Embedded server unavailable"
