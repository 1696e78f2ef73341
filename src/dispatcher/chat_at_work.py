"""Chat at work: what sends, pushes and keeps people's messages for later, started and stopped in order."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from dispatcher.channels.contract import BatchChannel
from dispatcher.chat.caller import Callers
from dispatcher.chat.channel import ConversationChannel
from dispatcher.chat.live.endpoint import Endpoint
from dispatcher.chat.live.live import Live
from dispatcher.chat.open_dm import Pairs
from dispatcher.chat.parts import ChatParts
from dispatcher.chat.push import Push, is_pushing
from dispatcher.chat.send import Sender
from dispatcher.chat.shares import Shares
from dispatcher.chat.token import Tokens
from dispatcher.delivery.lane import ChannelPool
from dispatcher.delivery.one_by_one import OneByOne
from dispatcher.delivery.switches import LaneSwitch
from dispatcher.delivery.timekeeper import Timekeeper
from dispatcher.kernel.api_key import ApiKey
from dispatcher.kernel.database_clock import DatabaseClock
from dispatcher.kernel.db import Pool
from dispatcher.kernel.lifecycle import background
from dispatcher.lanes import CHAT, FAR_AHEAD_SECONDS, PUSH, SELDOM_SECONDS, open_push
from dispatcher.lanes_at_work import Shared, each_at_its_time


@dataclass(frozen=True, slots=True)
class Chat:
    """Chat of this replica."""

    parts: ChatParts
    sockets: Endpoint
    keeper: Timekeeper
    switch: LaneSwitch
    tokens: Tokens | None


@asynccontextmanager
async def chatting(
    shared: Shared,
    pool: Pool,
    sender_pool: Pool,
    live: Live,
    *,
    tokens: Tokens | None,
    key: ApiKey | None,
    origins: Sequence[str],
    ping_seconds: float,
) -> AsyncIterator[Chat]:
    """What people send is written and pushed, and what is for later is sent at its time.

    Without `tokens` and `key` everybody is who they say they are: for loopback.
    """
    async with AsyncExitStack() as stack:
        sender = Sender(sender_pool, live.tell, pushing=lambda: is_pushing(shared.follower.live.value))
        pairs = Pairs(pool, live.tell)
        await stack.enter_async_context(background("chat sender", sender.run))
        sockets = await stack.enter_async_context(
            live.running(sender, pairs, tokens=tokens, key=key, origins=origins, ping_seconds=ping_seconds)
        )
        channel = ConversationChannel(sender, pool)
        keeper = await stack.enter_async_context(_sending_later(channel, shared))
        parts = ChatParts(
            pool=pool,
            callers=Callers(tokens=tokens, key=key),
            sender=sender,
            pairs=pairs,
            tell=live.tell,
            arrived={CHAT.name: keeper.arrived},
            shares=Shares(),
        )
        yield Chat(parts, sockets, keeper, LaneSwitch(CHAT.name, keeper.wake, lambda: None), tokens)


@asynccontextmanager
async def _sending_later(channel: BatchChannel, shared: Shared) -> AsyncIterator[Timekeeper]:
    """The lane of chat messages for later at work."""
    async with each_at_its_time(
        *(CHAT, channel, DatabaseClock(), shared),
        poll_seconds=SELDOM_SECONDS,
        ahead_seconds=FAR_AHEAD_SECONDS,
    ) as timekeeper:
        yield timekeeper


@asynccontextmanager
async def pushing(shared: Shared) -> AsyncIterator[Timekeeper]:
    """The push lane at work, and what looks for those to be called."""
    async with AsyncExitStack() as stack:
        channels = ChannelPool(open_push)
        stack.push_async_callback(channels.close)
        channel = OneByOne(PUSH, channels, shared.follower.live)
        timekeeper = await stack.enter_async_context(
            each_at_its_time(
                *(PUSH, channel, DatabaseClock(), shared),
                poll_seconds=SELDOM_SECONDS,
                ahead_seconds=FAR_AHEAD_SECONDS,
            )
        )
        push = Push(shared.pool, shared.follower.live, called=timekeeper.wake)
        await stack.enter_async_context(background("push", push.run))
        yield timekeeper
