"""The sandbox's sample receiver: a webhook in a process of its own, and a page with what arrived.

`python -m dispatcher.embedded.receiver --port 8090` runs it by hand; end its standard input to stop it.
"""

import argparse
import asyncio
import signal
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from dispatcher.embedded.errors import EmbeddedError
from dispatcher.embedded.receiver_page import CONTENT_SECURITY_POLICY, Arrival, page
from dispatcher.kernel.clock import elapsed, utc_now

HOST = "127.0.0.1"
DEFAULT_PORT = 8090
KEPT = 1_000
MAX_BODY_BYTES = 16 * 1_024
_LIMITS = frozenset(map(str, range(1, KEPT + 1)))
_MAX_HEADER = 256
_READY_SECONDS = 15
_STOP_SECONDS = 5


class Received:
    """The last 1,000 arrivals and the count of all."""

    def __init__(self) -> None:
        self.total = 0
        self._kept: deque[Arrival] = deque(maxlen=KEPT)
        self._last: float | None = None

    def add(self, to: str, content: str, webhook_id: str, correlation_id: str) -> None:
        """Note one arrival, now."""
        now = elapsed()
        gap = None if self._last is None else now - self._last
        self._last = now
        self.total += 1
        self._kept.append(
            Arrival(utc_now(), to, content, webhook_id[:_MAX_HEADER], correlation_id[:_MAX_HEADER], gap)
        )

    def newest(self, limit: int) -> list[Arrival]:
        """At most `limit` of those kept, newest first."""
        return list(islice(reversed(self._kept), limit))


def receiver_app() -> Starlette:
    """The sample receiver as an ASGI application with a memory of its own."""
    # Starlette alone: it is ready a second earlier than with the whole of FastAPI.
    app = Starlette(
        routes=[
            Route("/webhook", _take, methods=["POST"]),
            Route("/received", _list),
            Route("/", _show),
        ],
        # A page of another site must not read the messages through a name that it points at this machine.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
    )
    app.state.received = Received()
    return app


async def _take(request: Request) -> Response:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return _refused(413, f"the body may have {MAX_BODY_BYTES:,} bytes")
    try:
        sent = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _refused(400, "the body is not JSON")
    match sent:
        case {"to": str(to), "content": str(content)}:
            headers = request.headers
            received = _received(request)
            received.add(to, content, headers.get("webhook-id", ""), headers.get("x-correlation-id", ""))
            return JSONResponse({"message": "Accepted", "messageId": str(uuid4())}, 202)
        case _:
            return _refused(400, 'the body must be {"to": "…", "content": "…"}')


async def _list(request: Request) -> Response:
    limit = request.query_params.get("limit", "100")
    if limit not in _LIMITS:
        return _refused(422, f"limit must be a number from 1 to {KEPT:,}")
    received = _received(request)
    arrivals: list[dict[str, Any]] = [asdict(arrival) for arrival in received.newest(int(limit))]
    return Response(
        orjson.dumps(arrivals), media_type="application/json", headers={"x-total-count": str(received.total)}
    )


async def _show(request: Request) -> Response:
    received = _received(request)
    headers = {"content-security-policy": CONTENT_SECURITY_POLICY, "cache-control": "no-store"}
    return HTMLResponse(page(received.newest(KEPT), received.total), headers=headers)


def _received(request: Request) -> Received:
    received = request.app.state.received
    assert isinstance(received, Received)
    return received


@asynccontextmanager
async def running_receiver(data_dir: Path) -> AsyncIterator[str]:
    """Run the sample receiver in a process of its own; gives its base URL, like `http://127.0.0.1:8090`.

    It takes the port it had last in this data folder, else 8090, else a free one, and dies with this process.

    Raises:
        EmbeddedError: it did not start.
    """
    memory = data_dir / "receiver-port"
    # Not in a session of its own: a Ctrl-C reaches it and is ignored, so that it answers until we are done.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dispatcher.embedded.receiver"),
        *(f"--port={port}" for port in (*_remembered(memory), DEFAULT_PORT, 0)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        url = await _ready(process)
        _remember(memory, url)
        yield url
    finally:
        await _stop(process)


async def _ready(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(_READY_SECONDS):
            line = await process.stdout.readline()
    if not line:
        raise EmbeddedError(
            "the sample receiver did not start; `python -m dispatcher.embedded.receiver --port 0` shows why"
        )
    return line.decode().strip()


async def _stop(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _remembered(memory: Path) -> list[int]:
    try:
        port = int(memory.read_text())
    except (OSError, ValueError):
        return []
    return [port] if 0 < port < 1 << 16 else []


def _remember(memory: Path, url: str) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    memory.write_text(url.rpartition(":")[2])


def _refused(status: int, message: str) -> JSONResponse:
    return JSONResponse({"message": message}, status)


def _listen(ports: list[int]) -> socket.socket:
    """A listening socket on the first of the ports that is free."""
    for port in ports[:-1]:
        with suppress(OSError):
            return _listen_on(port)
    return _listen_on(ports[-1])


def _listen_on(port: int) -> socket.socket:
    listening = socket.create_server((HOST, port), backlog=1_024)
    # asyncio does it only for sockets that name their protocol; without it each answer waits 40 ms for an ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class _Server(uvicorn.Server):
    """Leaves SIGINT alone: the process that started us decides when we are done."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGINT:
            super().handle_exit(sig, frame)


async def _serve(ports: list[int]) -> None:
    listening = _listen(ports)
    config = uvicorn.Config(
        receiver_app(), log_level="warning", access_log=False, timeout_graceful_shutdown=1
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    sys.stdout.write(f"http://{HOST}:{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    # Whoever started us holds the other end: it closes with them, however they end.
    stdin = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin
    )
    over = asyncio.create_task(_drained(stdin))
    await asyncio.wait({serving, over}, return_when=asyncio.FIRST_COMPLETED)
    over.cancel()
    transport.close()
    server.should_exit = True
    await serving


async def _drained(stream: asyncio.StreamReader) -> None:
    while await stream.read(1_024):
        pass


def main() -> None:
    """Serve until the standard input ends."""
    parser = argparse.ArgumentParser(description="A webhook to look at: takes every message and lists them.")
    parser.add_argument(
        "--port", type=int, action="append", help="may be repeated: the first free one is used"
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the server says the same
    ports: list[int] = parser.parse_args().port or [DEFAULT_PORT]
    asyncio.run(_serve(ports))


if __name__ == "__main__":
    main()
