"""The note in the data folder that tells the other commands where the API of a running service is."""

from pathlib import Path

_NAME = "api-url"
_MOST_BYTES = 1024


class ApiRecord:
    """`<data_dir>/api-url`."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / _NAME

    def write(self, url: str) -> None:
        """This service serves there. Of several on one folder the last one to start is noted."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(url)

    def withdraw(self, url: str) -> None:
        """This service serves no longer. The note of another one stays."""
        if self.read() == url:
            self.path.unlink(missing_ok=True)

    def read(self) -> str | None:
        """The address, or None when no service has noted one."""
        try:
            with self.path.open() as file:
                return file.read(_MOST_BYTES).strip() or None
        except (OSError, UnicodeDecodeError):
            return None
