"""Live: the real-time part of one replica, put together."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from secrets import token_hex

from dispatcher.chat.happened import Happening
from dispatcher.chat.live.answer import Answers
from dispatcher.chat.live.channels import Channels, of_group
from dispatcher.chat.live.checker import Checker
from dispatcher.chat.live.door import Door
from dispatcher.chat.live.endpoint import Endpoint
from dispatcher.chat.live.fanout import FanOut
from dispatcher.chat.live.filler import Filler
from dispatcher.chat.live.following import Following
from dispatcher.chat.live.hub import Hub
from dispatcher.chat.live.marking import Marking
from dispatcher.chat.live.outage import Outage
from dispatcher.chat.live.presence import Presence
from dispatcher.chat.live.session import SessionParts
from dispatcher.chat.live.stream import Stream
from dispatcher.chat.open_dm import Pairs
from dispatcher.chat.send import Sender
from dispatcher.chat.token import Tokens
from dispatcher.kernel.api_key import ApiKey
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import Pool
from dispatcher.kernel.lifecycle import background
from dispatcher.kernel.redis import BoundedRedis


class Live:
    """What happens goes in by `tell`, sockets come in by `endpoint`."""

    def __init__(
        self, pool: Pool, redis: BoundedRedis, url: str, *, password: str | None, db: int, replica: str
    ) -> None:
        """`url`, `password` and `db` are Redis's, for a connection of its own."""
        replica = f"{replica}-{token_hex(4)}"  # two containers may have one hostname, and process 1 each
        self._pool = pool
        self._filler = Filler(pool)
        self._hub = Hub(
            missing=self._filler.want,
            joined=self._joined,
            began=self._began,
            ended=lambda stream: self._channels.release(_group_channel(stream)),
        )
        self._fanout = FanOut(pool, redis, self._hub, origin=replica)
        self._channels = Channels(
            url,
            password=password,
            db=db,
            prefix=redis.key("chat:"),
            got=self._fanout.got,
            turned=self._turned,
        )
        self._following = Following(pool, self._hub, self._channels, self._filler)
        self._checker = Checker(
            pool, self._hub, self._filler, self._following, deaf=lambda: self._channels.deaf
        )
        self._marking = Marking(pool, self.tell)
        self._presence = Presence(redis, self._hub, self._channels, self._fanout, replica=replica)

    def tell(self, happening: Happening) -> None:
        """What the verbs of chat call after their commits."""
        self._fanout.tell(happening)

    async def check(self) -> None:
        """Compare with Postgres now, and have fetched what was not told."""
        await self._checker.check()

    def _joined(self, user_id: str) -> None:
        self._following.look_again(user_id)

    def _began(self, stream: Stream) -> None:
        self._channels.keep(_group_channel(stream))
        self._filler.begun(stream)

    def _turned(self) -> None:
        self._checker.soon()

    @asynccontextmanager
    async def running(
        self,
        sender: Sender,
        pairs: Pairs,
        *,
        tokens: Tokens | None,
        key: ApiKey | None,
        origins: Iterable[str],
        ping_seconds: float,
    ) -> AsyncIterator[Endpoint]:
        """Its loops, for as long as the block runs, and where sockets go.

        Args:
            sender: Writes what is sent.
            pairs: Opens conversations of two.
            tokens: Judge who somebody is; None where none are set up.
            key: The operator's.
            origins: Pages of other hosts that may open sockets.
            ping_seconds: Between two pings, which clients are told; whoever serves the sockets sends them.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._channels.close)
            stack.push_async_callback(self._presence.withdraw)
            for name, run in (
                ("chat channels", self._channels.run),
                ("chat fan-out", self._fanout.run),
                ("chat filler", lambda: self._filler.run(self._hub)),
                ("chat following", self._following.run),
                ("chat checker", self._checker.run),
                ("chat marking", self._marking.run),
                ("chat presence", self._presence.run),
            ):
                await stack.enter_async_context(background(name, run))
            parts = SessionParts(
                pool=self._pool,
                hub=self._hub,
                door=Door(tokens=tokens, key=key, origins=origins, now=elapsed()),
                filler=self._filler,
                following=self._following,
                presence=self._presence,
                outage=Outage(),
                ping_seconds=ping_seconds,
            )
            yield Endpoint(parts, Answers(sender, pairs, self._marking, self._fanout))


def _group_channel(stream: Stream) -> list[str]:
    return [] if stream.pair is not None else [of_group(stream.conversation_id)]
