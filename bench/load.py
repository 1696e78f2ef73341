"""A load generator that costs little: one HTTP/1.1 request again and again, over connections that are kept.

Run as a process of its own, so that it takes no time from the one that is measured:
`python -m bench.load PORT PATH BODY-FILE --count 20000` prints requests per second, and fails if an answer is no 2xx.
"""

import argparse
import asyncio
import time
from pathlib import Path
from typing import cast
from uuid import uuid4

import uvloop

CONNECTIONS = 64


class Load:
    """How many requests are left to send, and to be answered."""

    def __init__(self, head: str, body: bytes, count: int, *, keys: bool) -> None:
        self._head, self._body = head.encode(), body
        self._request = self._head + b"\r\n" + body
        self._keys = keys
        self.to_send = count
        self.to_answer = count
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def request(self) -> bytes:
        """The next request; each with a key of its own, if keys are wanted."""
        self.to_send -= 1
        if not self._keys:
            return self._request
        return b"%sIdempotency-Key: %s\r\n\r\n%s" % (self._head, uuid4().hex.encode(), self._body)


class Connection(asyncio.Protocol):
    """One connection: the next request goes out when the answer to the last one is complete."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._next()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        start = buffer.find(b"content-length: ", 0, end) + 16
        if len(buffer) < end + 4 + int(buffer[start : buffer.index(b"\r\n", start)]):
            return
        self._buffer = b""
        if not buffer.startswith(b"HTTP/1.1 2"):
            self._fail(RuntimeError(f"no 2xx: {buffer[:2000].decode()}"))
            return
        self._load.to_answer -= 1
        if not self._load.to_answer:
            self._load.ended.set_result(None)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or RuntimeError("the service closed a connection"))

    def _next(self) -> None:
        assert self._transport is not None
        if self._load.to_send:
            self._transport.write(self._load.request())

    def _fail(self, error: Exception) -> None:
        if not self._load.ended.done():
            self._load.ended.set_exception(error)


async def load(
    port: int, path: str, body: bytes, *, content_type: str, count: int, connections: int, keys: bool
) -> float:
    """Requests per second, `connections` in flight at any time."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    run = Load(head, body, count, keys=keys)
    began = time.perf_counter()
    for _ in range(min(connections, count)):
        await asyncio.get_running_loop().create_connection(lambda: Connection(run), "127.0.0.1", port)
    await run.ended
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("body", type=Path, help="a file with the request's body")
    parser.add_argument("--content-type", default="application/json")
    parser.add_argument("--count", type=int, default=20_000, help="requests in all (default: 20000)")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--keys", action="store_true", help="send an Idempotency-Key with each request")
    given = parser.parse_args()
    rate = uvloop.run(
        load(
            given.port,
            given.path,
            given.body.read_bytes(),
            content_type=given.content_type,
            count=given.count,
            connections=given.connections,
            keys=given.keys,
        )
    )
    print(rate)  # noqa: T201 - what its caller reads
