"""Session: one socket, from its hello to its close."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import structlog
from starlette.types import Receive, Send

from dispatcher.chat.live import codes, frames, snapshot
from dispatcher.chat.live.codes import Code
from dispatcher.chat.live.door import MAX_OF_USER, Admitted, Door
from dispatcher.chat.live.filler import Filler
from dispatcher.chat.live.following import Attached, Following
from dispatcher.chat.live.hub import Hub
from dispatcher.chat.live.listener import Listener
from dispatcher.chat.live.outage import Outage
from dispatcher.chat.live.outlet import Outlet
from dispatcher.chat.live.presence import Presence
from dispatcher.chat.live.protocol import Frame, Hello, Refresh, id_of, parse
from dispatcher.kernel.bucket import Bucket
from dispatcher.kernel.clock import elapsed, pause, utc_now
from dispatcher.kernel.db import UNAVAILABLE, Pool
from dispatcher.kernel.errors import DispatcherError, InvalidRequestError, UnavailableError

log = structlog.get_logger()

HELLO_SECONDS = 10.0
FRAMES_PER_SECOND = 100.0
FRAMES_AT_ONCE = 500
"""A client that sends faster is read more slowly; it notices nothing else."""
MAX_BAD_FRAMES = 20
"""One after the other; then it is no client of ours."""
HELLO_LISTED = 200
"""Conversations that a hello lists; GET /api/v1/conversations has them all."""


@dataclass(frozen=True, slots=True)
class SessionParts:
    """What all sessions share."""

    pool: Pool
    hub: Hub
    door: Door
    filler: Filler
    following: Following
    presence: Presence
    outage: Outage
    ping_seconds: float


Answer = Callable[["Session", Frame], Coroutine[Any, Any, None]]


class Session:
    """Reads frames, has them answered, and sends what waits in the outbox."""

    __slots__ = ("_expiry", "_receive", "_tasks", "_writing", "listener", "outlet", "parts", "typed")

    def __init__(
        self,
        parts: SessionParts,
        receive: Receive,
        send: Send,
        *,
        abort: Callable[[], None] | None,
        write: Callable[[Sequence[str]], bool] | None,
    ) -> None:
        """A socket that has been accepted; `abort` and `write` are what an Outlet wants."""
        self.parts, self._receive = parts, receive
        self.outlet = Outlet(send, abort=abort, write=write, start=self.start)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing: set[asyncio.Task[None]] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self.listener: Listener
        self.typed = 0.0
        """When this socket last said that its user is typing."""

    async def run(self, headers: Mapping[bytes, bytes], answer: Answer) -> None:
        """Until the socket is closed, by whichever side."""
        try:
            hello = await self._hello()
            if hello is None:
                return
            admitted = await self._admitted(hello, headers)
            if admitted is None:
                return
            self.listener = Listener(admitted.user_id, wake=self.outlet.wake, start=self.start)
            self.outlet.listener = self.listener
            await self._attached(hello, admitted, answer)
        except OSError:  # the client is gone
            pass
        except Exception as error:  # noqa: BLE001 - a bug of ours, whatever it is: the client is to come back
            self._failed(error)
        finally:
            if self._expiry is not None:
                self._expiry.cancel()
            for task in self._tasks - {self.outlet.closer}:
                task.cancel()
            if self._tasks:
                await asyncio.wait([*self._tasks])

    def close(self, code: Code) -> None:
        """Close the socket, saying why; whoever reads it comes to its end."""
        self.outlet.close(code)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let it go on beside reading, no longer than the socket; which ends when it fails: it has a hole then."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def write(self, work: Coroutine[Any, Any, None], *, at_once: int) -> None:
        """The same for what has an end whatever the client does; returns when fewer than `at_once` of these go on.

        What waits for the client must not be waited for here: nobody would read that it is gone.
        """
        task = self.start(work)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        while len(self._writing) >= at_once:
            await asyncio.wait([*self._writing], return_when=asyncio.FIRST_COMPLETED)

    async def refresh(self, frame: Refresh, headers: Mapping[bytes, bytes] | None = None) -> None:
        """A newer token, of the same user.

        Raises:
            DispatcherError: It is not good.
        """
        hello = Hello(type="hello", token=frame.token, user_id=self.listener.user_id)
        self._expire(await self.parts.door.admit(hello, headers or {}))

    async def _hello(self) -> Hello | None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                message = await self._receive()
        except TimeoutError:
            self.close(codes.NO_HELLO)
            return None
        if message["type"] == "websocket.disconnect":
            return None
        try:
            frame = parse(message.get("text") or "")
            if isinstance(frame, Hello):
                return frame
            problem = InvalidRequestError("the first frame is a hello")
        except InvalidRequestError as error:
            problem = error
        await self.outlet.refuse(frames.error(None, problem), codes.BAD_FRAME)
        return None

    async def _admitted(self, hello: Hello, headers: Mapping[bytes, bytes]) -> Admitted | None:
        door, users = self.parts.door, self.parts.hub.users
        try:
            admitted = await door.admit(hello, headers)
            if not await snapshot.is_user(self.parts.pool, admitted.user_id):
                problem = InvalidRequestError(f"{admitted.user_id} is no user here yet")
                await self.outlet.refuse(frames.error(hello.id, problem), codes.NO_USER)
                return None
        except UnavailableError as error:
            await self.outlet.refuse(frames.error(hello.id, error), codes.UNAVAILABLE)
        except DispatcherError as error:
            await self.outlet.refuse(frames.error(hello.id, error), codes.BAD_TOKEN)
        except UNAVAILABLE as error:
            self._unavailable(error)
        else:
            local = users.get(admitted.user_id)
            if local is None or local.holders < MAX_OF_USER:
                return admitted
            self.close(codes.TOO_MANY)
        return None

    async def _attached(self, hello: Hello, admitted: Admitted, answer: Answer) -> None:
        parts, listener = self.parts, self.listener
        positions = {int(id_): position for id_, position in hello.positions.items()}
        try:
            attached = await parts.following.attach(listener, positions)
        except UNAVAILABLE as error:
            self._unavailable(error)
            return
        try:
            listener.frame(_hello_frame(hello, admitted, attached, parts.ping_seconds))
            parts.presence.changed(admitted.user_id)
            self._expire(admitted)
            if attached.behind:
                self.start(self._catch_up(attached))
            await self._read(answer)
        finally:
            parts.presence.unwatch(listener)
            parts.following.detach(listener)
            parts.presence.changed(admitted.user_id)

    async def _catch_up(self, attached: Attached) -> None:
        try:
            await self.parts.filler.catch_up(self.parts.hub, self.listener, attached.behind)
        except UNAVAILABLE as error:
            self._unavailable(error)

    async def _read(self, answer: Answer) -> None:
        bucket = Bucket(rate=FRAMES_PER_SECOND, most=FRAMES_AT_ONCE, now=elapsed())
        bad = 0
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return
            if self.outlet.closer is not None:
                continue
            if (seconds := bucket.take(elapsed())) > 0:
                await pause(seconds)
            id_, text = None, message.get("text") or ""
            try:
                frame = parse(text)
                id_ = frame.id
                await answer(self, frame)
                bad = 0
            except DispatcherError as error:
                self.listener.frame(frames.error(id_ if id_ is not None else id_of(text), error))
                bad += isinstance(error, InvalidRequestError)
                if bad > MAX_BAD_FRAMES:
                    self.close(codes.BAD_FRAME)
            except UNAVAILABLE as error:
                self.parts.outage.say(error)
                unavailable = UnavailableError("Postgres does not answer at the moment; send it again")
                self.listener.frame(frames.error(id_, unavailable))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def _unavailable(self, error: BaseException) -> None:
        self.parts.outage.say(error)
        self.close(codes.UNAVAILABLE)

    def _failed(self, error: BaseException) -> None:
        log.error("chat_socket_failed", exc_info=error)
        self.close(codes.BUG)

    def _expire(self, admitted: Admitted) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        if admitted.until is not None:
            seconds = max(0.0, (admitted.until - utc_now()).total_seconds())
            self._expiry = asyncio.get_running_loop().call_later(seconds, self.close, codes.EXPIRED)


def _hello_frame(hello: Hello, admitted: Admitted, attached: Attached, ping_seconds: float) -> str:
    listed = attached.standings[:HELLO_LISTED]
    return frames.encode(
        "hello",
        id=hello.id,
        session=token_hex(8),
        user_id=admitted.user_id,
        expires_at=admitted.until,
        ping_seconds=ping_seconds,
        conversations=[frames.standing_view(one) for one in listed],
        more=len(attached.standings) > len(listed),
    )
