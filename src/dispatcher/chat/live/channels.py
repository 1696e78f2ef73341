"""Channels: what this replica gets from the others, over one connection to Redis of its own.

A channel a user, for all their conversations of two, and a channel a group: a message to a thousand members is one
publication, and a socket that comes subscribes once, however many people its user talks to. While Redis is gone, what is
published is lost; `deaf` says so, and the positions are compared with Postgres.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from dispatcher.kernel.backoff import delay
from dispatcher.kernel.cancellation import heeded
from dispatcher.kernel.clock import elapsed, pause, wait_for

log = structlog.get_logger()

HEARD_SECONDS = 0.5
"""How long whoever comes waits for their channels; then they go on without, and compare later."""
QUIET_SECONDS = 5.0
"""Without anything from Redis for this long it is asked whether it is there."""
DEAD_SECONDS = 2 * QUIET_SECONDS + 2.0
MARKER = "all"
"""A channel that nobody publishes to: a connection without any subscription takes no pongs."""
CHUNK = 500
"""Channels a command."""
TROUBLE = (RedisError, OSError, TimeoutError)


def of_user(user_id: str) -> str:
    """The channel of what concerns one user: their conversations of two, and news of who is where."""
    return f"u:{user_id}"


def of_group(conversation_id: int) -> str:
    """The channel of a group."""
    return f"g:{conversation_id}"


def of_presence(user_id: str) -> str:
    """The channel of a user's coming and going."""
    return f"p:{user_id}"


class Channels:
    """The channels that are wanted, and the loop that gets what is published there."""

    def __init__(
        self,
        url: str,
        *,
        password: str | None,
        db: int,
        prefix: str,
        got: Callable[[str, bytes], None],
        turned: Callable[[], None],
    ) -> None:
        """`got` is called with a channel and what was published; `turned` when `deaf` has changed."""
        self._redis = Redis.from_url(
            url,
            password=password,
            db=db,
            socket_connect_timeout=2.0,
            socket_timeout=2.0,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # its answers are the plainer ones
        )
        self._prefix, self._got, self._turned = prefix, got, turned
        self._wanted: dict[str, int] = {}
        self._heard: set[str] = set()
        self._changed = asyncio.Event()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._unanswered: dict[str, int] = {}
        """Commands about a channel that Redis has not confirmed."""
        self._last = 0.0
        self.deaf = True
        """Whether what is published does not come here at the moment."""

    def keep(self, names: Iterable[str]) -> None:
        """Get what is published there; each call wants a `release`."""
        for name in names:
            self._wanted[name] = self._wanted.get(name, 0) + 1
            if self._wanted[name] == 1:
                self._changed.set()

    def release(self, names: Iterable[str]) -> None:
        """No longer."""
        for name in names:
            self._wanted[name] -= 1
            if not self._wanted[name]:
                del self._wanted[name]
                self._wake(name)  # it may never have been asked for, and then nothing is confirmed
                self._changed.set()

    async def heard(self, names: Sequence[str]) -> None:
        """Returns when these are heard, or cannot be for now."""
        loop = asyncio.get_running_loop()
        if self.deaf:
            return
        missing = [
            self._waiting.setdefault(name, loop.create_future()) for name in names if name not in self._heard
        ]
        if missing:
            await asyncio.wait(missing, timeout=HEARD_SECONDS)

    async def run(self) -> None:
        """Listen, forever."""
        failures = 0
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await self._listen(pubsub)
            except* TROUBLE as group:
                if not self.deaf or not failures:
                    log.warning("chat_channels_deaf", error=repr(group.exceptions[0]))
                failures = 1 if not self.deaf else failures + 1
            finally:
                self._now_deaf()
            await pause(delay(failures, base=0.1, cap=2.0))

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()

    async def _listen(self, pubsub: PubSub) -> None:
        with heeded():
            await pubsub.subscribe(f"{self._prefix}{MARKER}")
        self._last = elapsed()
        async with asyncio.TaskGroup() as both:
            both.create_task(self._read(pubsub))
            both.create_task(self._keep_up(pubsub))

    async def _keep_up(self, pubsub: PubSub) -> None:
        """Subscribe to what is wanted and not heard, and the other way round; and ask whether Redis is there."""
        asked: set[str] = set()
        while True:
            self._changed.clear()
            more, less = self._wanted.keys() - asked, asked - self._wanted.keys()
            self._heard -= less
            for name in more | less:
                self._unanswered[name] = self._unanswered.get(name, 0) + 1
            for names, command in ((more, pubsub.subscribe), (less, pubsub.unsubscribe)):
                listed = [f"{self._prefix}{name}" for name in names]
                for first in range(0, len(listed), CHUNK):
                    with heeded():
                        await command(*listed[first : first + CHUNK])
            asked = (asked | more) - less
            if self.deaf:  # Redis answers in turn: this pong comes behind all that was subscribed to
                with heeded():
                    await pubsub.ping()
            if not await wait_for(self._changed, QUIET_SECONDS):
                if elapsed() - self._last > DEAD_SECONDS:
                    raise TimeoutError("Redis does not answer")
                with heeded():
                    await pubsub.ping()

    async def _read(self, pubsub: PubSub) -> None:
        begin = len(self._prefix)
        while True:
            # as it came: what `get_message` makes of it takes as long as all the rest
            response = await pubsub.parse_response(block=True)
            self._last = elapsed()
            kind = response[0] if isinstance(response, list) else response
            if kind == b"message":
                self._got(response[1].decode()[begin:], response[2])
            elif kind in {b"subscribe", b"unsubscribe"}:
                self._confirmed(response[1].decode()[begin:], heard=kind == b"subscribe")
            elif kind in {b"pong", b"PONG"} and self.deaf:
                self.deaf = False
                log.info("chat_channels_heard", channels=len(self._heard))
                self._turned()

    def _confirmed(self, name: str, *, heard: bool) -> None:
        if (left := self._unanswered.pop(name, 1) - 1) > 0:
            self._unanswered[name] = left  # what was asked later counts: the channel may be about to be left
        elif heard:
            if name in self._wanted:
                self._heard.add(name)
            self._wake(name)

    def _wake(self, name: str) -> None:
        if (waiting := self._waiting.pop(name, None)) is not None and not waiting.done():
            waiting.set_result(None)

    def _now_deaf(self) -> None:
        self._heard.clear()
        self._unanswered.clear()
        for name in list(self._waiting):
            self._wake(name)
        if not self.deaf:
            self.deaf = True
            self._turned()
