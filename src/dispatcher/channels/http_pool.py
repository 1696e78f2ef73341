"""The connections to one origin: those that rest are used again, the last one first, so that the others grow old."""

import asyncio
import socket
import ssl

from dispatcher.channels.http1 import Burst, Connection

_HANDSHAKE_SECONDS = 600.0
"""Longer than any attempt: the attempt's own deadline is what ends a handshake."""


class HttpPool:
    """Opens connections to one host and port, and keeps up to `idle_limit` that rest."""

    def __init__(self, host: str, port: int, *, tls: bool, idle_limit: int) -> None:
        """`host` is a name in ASCII or an address, an IPv6 one in brackets or not."""
        self._host, self._port, self._idle_limit = host.strip("[]"), port, idle_limit
        self._tls = _tls_context() if tls else None
        self._burst = Burst()
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._emptied = asyncio.Event()

    def take(self) -> Connection | None:
        """A connection that rested, if there is one that can be used."""
        while self._idle:
            connection = self._idle.pop()
            if connection.quiet():
                return connection
            connection.abort()
        return None

    async def open(self, deadline: float) -> Connection:
        """Make a new connection, with TLS where that was asked for.

        Raises:
            OSError: It could not be made (socket.gaierror: no such name; ssl.SSLError: TLS), or not by `deadline`
                on the loop's clock (TimeoutError without an errno).
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._burst, self._open.add, self._forget),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    # A name that ends in a dot is the same name; certificates are made out to the one without.
                    server_hostname=self._host.removesuffix(".") if self._tls else None,
                    ssl_handshake_timeout=_HANDSHAKE_SECONDS if self._tls else None,
                )
        except ssl.SSLError:  # one of them is a ValueError too
            raise
        except ValueError as error:  # a label of more than 63 letters, an empty one
            raise socket.gaierror(socket.EAI_NONAME, "no host can have this name") from error
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep the connection for the next request if it can take one, or else end it and what it is doing."""
        if len(self._idle) < self._idle_limit and connection.rest():
            self._idle.append(connection)
        else:
            connection.abort()

    async def close(self) -> None:
        """End all connections, and wait until they have ended."""
        self._idle_limit = 0
        for connection in tuple(self._open):
            connection.abort()
        while self._open:
            self._emptied.clear()
            await self._emptied.wait()

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._emptied.set()


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
