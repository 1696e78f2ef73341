"""A receiver that answers at once, as fast as Python can: what it costs is not what is measured.

Run as a process of its own: `python -m bench.receiver PORT`. Answers every request with a messageId and keeps the
connection; `GET /count` answers the number of POSTs so far.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import uvloop

_BODY = b'{"message": "Accepted", "messageId": "67f2f8a8-ea58-4ed0-a6f9-ff217df4d849"}'
_ANSWER = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)


class Receiver(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as far as our own client speaks it."""

    posts = 0

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            if head.startswith(b"get /count"):
                body = str(Receiver.posts).encode()
                self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                self._buffer = self._buffer[end + 4 :]
                continue
            length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            Receiver.posts += 1
            self._transport.write(_ANSWER)


@contextmanager
def receiver(port: int) -> Iterator[str]:
    """The receiver in a process of its own, for as long as the block lasts: where it takes POSTs."""
    process = subprocess.Popen([sys.executable, "-m", "bench.receiver", str(port)])
    try:
        yield f"http://127.0.0.1:{port}/webhook"
    finally:
        process.kill()
        process.wait()


async def main(port: int) -> None:
    """Receive until killed."""
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
