"""Uvicorn's WebSockets, with two things that ASGI has no words for: write now, and end the connection now."""

import struct
from collections.abc import Sequence
from typing import Any, cast

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request

from dispatcher.chat.live.endpoint import ABORT, WRITE

_TEXT = 0x81
"""The first byte of a whole text frame."""
_SHORT, _MEDIUM = 126, 1 << 16
MAX_PIECES = 1024
"""Of one frame."""
LINGER_SECONDS = 1.0
"""How long the word of the end may take to go out."""


class DirectSockets(WebSocketsSansIOProtocol):
    """Frames go out several at a time, without a task for each; a client that takes nothing can be cut off.

    What a client can make it keep is bounded.
    """

    _pongs = b""

    def handle_connect(self, event: Request) -> None:
        """Accept the request; the application finds both things among its extensions."""
        super().handle_connect(event)
        if hasattr(self, "scope"):  # the request was one
            extensions: dict[str, Any] = cast("Any", self.scope["extensions"])
            extensions |= {ABORT: self.transport.abort, WRITE: self._write_now}

    def handle_ping(self) -> None:
        """Answer pings; while the client takes nothing the latest of them is enough."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self._pongs = b"".join(self.conn.data_to_send())

    def resume_writing(self) -> None:
        """There is room again."""
        super().resume_writing()
        pongs, self._pongs = self._pongs, b""
        if pongs and not self.close_sent:
            self.transport.write(pongs)

    def handle_cont(self, event: Frame) -> None:
        """A piece of a frame; empty ones count too."""
        if len(self.frames) < MAX_PIECES:
            super().handle_cont(event)
        elif not self.close_sent:
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, f"a frame of more than {MAX_PIECES} pieces")
            self.handle_parser_exception()

    def keepalive_timeout(self) -> None:
        """The client has not answered: what it has not taken by now it takes no more, and nobody waits for that."""
        super().keepalive_timeout()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    async def send(self, message: ASGISendEvent) -> None:
        """As ASGI says: OSError when the connection is closed, by whichever side, also while there was no room."""
        await self.writable.wait()
        if self.close_sent:
            raise ClientDisconnected
        await super().send(message)

    def _write_now(self, frames: Sequence[str]) -> bool:
        """Send these text frames; False, and nothing sent, when the client makes no room or is no longer there."""
        if (
            not self.handshake_complete
            or not self.writable.is_set()
            or self.close_sent
            or self.transport.is_closing()
        ):
            return False
        pieces: list[bytes] = []
        for frame in frames:
            payload = frame.encode()
            pieces.append(_head(len(payload)))
            pieces.append(payload)
        self.transport.write(b"".join(pieces))
        return True


def _head(length: int) -> bytes:
    if length < _SHORT:
        return bytes((_TEXT, length))
    if length < _MEDIUM:
        return struct.pack("!BBH", _TEXT, 126, length)
    return struct.pack("!BBQ", _TEXT, 127, length)
