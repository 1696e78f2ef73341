"""Runs the service and its HTTP server until a signal, then shuts both down in order."""

import asyncio
import gc
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn

from dispatcher.app import Addresses, Application, running
from dispatcher.chat.live.protocol import MAX_FRAME_BYTES
from dispatcher.cli.interrupts import Interrupts
from dispatcher.cli.sockets import DirectSockets
from dispatcher.kernel.errors import StartupError
from dispatcher.settings import Settings

DEFAULT_PORT = 8080
FURTHER_PORTS = 100
YOUNG_OBJECTS = 20_000
"""Objects between two looks for garbage: requests make few cycles, and many objects that end by themselves."""


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handling, which would end the process by the signal instead of with 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int | None) -> socket.socket:
    """A listening socket: on this port, or, when none is asked for, on 8080 or the next free one.

    Raises:
        StartupError: The port is taken, or the host is not one of this machine.
    """
    candidates = [port] if port is not None else range(DEFAULT_PORT, DEFAULT_PORT + FURTHER_PORTS)
    problem: OSError | None = None
    for candidate in candidates:
        try:
            listener = socket.create_server((host, candidate), family=_family(host), backlog=2048)
        except OSError as error:
            problem = error
        else:
            # asyncio does this for sockets that it opens itself; without it an answer can wait 40 ms for an ACK
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return listener
    raise StartupError(
        f"APP_PORT: cannot listen on {host}:{port or DEFAULT_PORT} ({problem}); "
        f"choose a free one, e.g. APP_PORT={(port or DEFAULT_PORT) + 1}"
    )


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def settle_heap() -> None:
    """Let the garbage collector pass over what the start has made.

    It lives as long as the process; walking it again and again took a third of the time of a small request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)


async def serve(
    settings: Settings,
    addresses: Addresses,
    *,
    listener: socket.socket,
    live_file: Mapping[str, Any],
    console_fd: int | None,
    interrupt: Interrupts,
    on_ready: Callable[[Application], None],
) -> None:
    """Serve until a signal: claim nothing more at once, answer the requests under way, finish what is being sent.

    A second signal gives up waiting; leases of what was being sent then run out, and the rescuer takes over.
    """
    async with running(settings, addresses, live_file=live_file, console_fd=console_fd) as application:
        config = uvicorn.Config(
            application.api,
            log_config=None,
            access_log=False,
            timeout_keep_alive=int(settings.idle_timeout),
            timeout_graceful_shutdown=max(1, int(settings.shutdown_timeout)),
            ws=DirectSockets,
            ws_max_size=MAX_FRAME_BYTES,
            ws_ping_interval=settings.chat_ping_interval,
            ws_ping_timeout=settings.chat_ping_interval,
            ws_per_message_deflate=False,  # a window a socket is more memory than all the rest of it
            ssl_certfile=str(settings.https_cert) if settings.use_https else None,
            ssl_keyfile=str(settings.https_key) if settings.use_https else None,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise StartupError(f"HTTPS_CERT_PATH, HTTPS_KEY_PATH: cannot use them: {error}") from error
        server = _Server(config)
        leaving = set[asyncio.Task[None]]()  # the event loop alone would let it be collected while it runs

        async def leave() -> None:
            try:
                await application.drain()
            finally:
                server.should_exit = True

        def stop() -> None:
            application.stop_claiming()
            leaving.add(asyncio.create_task(leave()))

        interrupt.now_stop(stop)
        on_ready(application)
        settle_heap()
        await server.serve(sockets=[listener])
