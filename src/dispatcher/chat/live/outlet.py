"""Outlet: what goes out of one socket: what waits in its outbox, and in the end why it is closed."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from starlette.types import Send

from dispatcher.chat.live import codes, frames
from dispatcher.chat.live.codes import Code
from dispatcher.chat.live.listener import Listener
from dispatcher.kernel.clock import pause

SEND_SECONDS = 10.0
"""How long what is sent may wait for the client to make room; then the socket is closed."""
CLOSE_SECONDS = 2.0
MAX_AFTER_MS = 2000
"""Over how long those who are sent away together are spread."""


class Outlet:
    """Sends."""

    __slots__ = ("_abort", "_flushing", "_send", "_start", "_write", "closer", "listener")

    def __init__(
        self,
        send: Send,
        *,
        abort: Callable[[], None] | None,
        write: Callable[[Sequence[str]], bool] | None,
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """The outlet of a socket that has been accepted.

        Args:
            send: ASGI's.
            abort: Ends the connection at once, also when the client reads nothing any more.
            write: Sends text frames at once; False when there is no room for them.
            start: Lets something go on, no longer than the socket.
        """
        self._send, self._abort, self._write, self._start = send, abort, write, start
        self._flushing = False
        self.closer: asyncio.Task[None] | None = None
        """What closes the socket, once that has begun."""
        self.listener: Listener
        """Whose outbox; set before the first `wake`."""

    def wake(self) -> None:
        """Something waits in the outbox, or the socket is to be closed."""
        if self.listener.ending is not None:
            self.close(self.listener.ending)
        elif not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush_now)

    def close(self, code: Code) -> None:
        """Close the socket, saying why; whoever reads it comes to its end."""
        if self.closer is None:
            self.closer = self._start(self._close(code))

    async def refuse(self, frame: str, code: Code) -> None:
        """Say what is wrong, then close the socket."""
        try:
            await self._send({"type": "websocket.send", "text": frame})
        except OSError:
            return
        self.close(code)

    def _flush_now(self) -> None:
        """Everything that this turn of the event loop has put into the outbox goes out as one write."""
        if self.closer is not None:
            return
        outbox = self.listener.outbox
        taken = outbox.take(frames.receipts)
        if self._write is None or not self._write(taken):
            self._start(self._flush(taken))
            return
        self.listener.taken()
        if outbox:
            asyncio.get_running_loop().call_soon(self._flush_now)
        else:
            self._flushing = False

    async def _flush(self, taken: Sequence[str]) -> None:
        """The same, for a client that is not as fast: wait until it makes room."""
        try:
            while taken and self.closer is None:
                async with asyncio.timeout(SEND_SECONDS):
                    for frame in taken:
                        await self._send({"type": "websocket.send", "text": frame})
                self.listener.taken()
                await pause(0)  # let others have their turn
                taken = self.listener.outbox.take(frames.receipts)
        except TimeoutError:
            self.close(codes.SLOW)
        except OSError:  # the client is gone; reading says so too
            pass
        finally:
            self._flushing = False

    async def _close(self, code: Code) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if code.reconnect:
                    after_ms = random.randint(0, MAX_AFTER_MS)  # noqa: S311 - spreads clients
                    await self._send({"type": "websocket.send", "text": frames.bye(code, after_ms=after_ms)})
                await self._send({"type": "websocket.close", "code": code.number, "reason": code.reason})
        except TimeoutError:
            if self._abort is not None:
                self._abort()
        except OSError:
            pass
