"""Following: who of this replica's users is in which conversation, and where a socket that comes begins.

First subscribe, then look: what happens in between comes twice and is dropped the second time, and nothing is missed. What
is told before there is a stream for it is found when the stream begins: see `Filler.begun`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from dispatcher.chat.live import codes, frames, snapshot
from dispatcher.chat.live.channels import Channels, of_group, of_user
from dispatcher.chat.live.filler import Behind, Filler
from dispatcher.chat.live.hub import Hub, Local
from dispatcher.chat.live.listener import Held, Listener
from dispatcher.chat.live.snapshot import Standing
from dispatcher.chat.live.stream import NO_MARKS, Stream
from dispatcher.kernel.clock import pause
from dispatcher.kernel.db import TROUBLE, Pool

log = structlog.get_logger()

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Attached:
    """Where a socket begins."""

    standings: Sequence[Standing]
    behind: Sequence[Behind]
    """What it is to be caught up with; all of these are held back for it until then."""


class Following:
    """Keeps the hub's users in the right streams."""

    def __init__(self, pool: Pool, hub: Hub, channels: Channels, filler: Filler) -> None:
        self._pool, self._hub, self._channels, self._filler = pool, hub, channels, filler
        self._stale: set[str] = set()
        self._woken = asyncio.Event()

    async def attach(self, listener: Listener, positions: Mapping[int, tuple[int, int]]) -> Attached:
        """Let a socket in that has its conversations up to these positions, and those it does not name up to now.

        Raises one of TROUBLE when Postgres does not answer.
        """
        user_id = listener.user_id
        local = self._hub.users.setdefault(user_id, Local())
        local.holders += 1
        if local.holders == 1:
            self._channels.keep([of_user(user_id)])
        try:
            standings = await self._look(user_id, local)
        except BaseException:
            self._leave(user_id, local)
            raise
        behind = []
        for one in standings:
            seat, stream = one.seat, self._hub.streams[one.seat.conversation_id]
            seq, change = positions.get(seat.conversation_id, (seat.last_seq, seat.last_change))
            seq, change = max(min(seq, seat.last_seq), seat.joined_seq), min(change, seat.last_change)
            if (seq, change) != (stream.seq, stream.change):
                held = listener.hold(seat.conversation_id)
                behind.append(Behind(stream, held, seq=seq, change=change, joined_seq=seat.joined_seq))
            _catch_up_marks(listener, stream, one)
        local.listeners.append(listener)
        return Attached(standings, behind)

    def detach(self, listener: Listener) -> None:
        """The socket is gone."""
        local = self._hub.users[listener.user_id]
        local.listeners.remove(listener)
        self._leave(listener.user_id, local)

    def look_again(self, user_id: str) -> None:
        """The user may have come into a conversation, or out of one, without anybody having said so."""
        self._stale.add(user_id)
        self._woken.set()

    async def run(self) -> None:
        """Look again at those who may be elsewhere, forever."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            stale, self._stale = self._stale, set()
            for user_id in stale:
                local = self._hub.users.get(user_id)
                try:
                    if local is not None:
                        await self._look(user_id, local)
                except TROUBLE as error:
                    log.warning("chat_memberships_unknown", error=str(error) or type(error).__name__)
                    self.look_again(user_id)
                    await pause(RETRY_SECONDS)

    async def _look(self, user_id: str, local: Local) -> Sequence[Standing]:
        """The user's conversations; the hub has them follow exactly these from now on, if they are still there."""
        async with local.looking:
            groups = await snapshot.groups_of(self._pool, user_id)
            names = [of_group(one) for one in groups if one not in local.following]
            self._channels.keep(names)
            try:
                await self._channels.heard([of_user(user_id), *names])
                while True:
                    turn = local.turn
                    standings = await snapshot.standings(self._pool, user_id)
                    passed_over = await self._passed_over(user_id, local, standings)
                    if local.turn == turn:
                        break
                if self._hub.users.get(user_id) is local:
                    self._reconcile(user_id, local, standings, passed_over)
            finally:
                self._channels.release(names)
            return standings

    async def _passed_over(self, user_id: str, local: Local, standings: Sequence[Standing]) -> set[int]:
        """What is no longer among those that are followed, because others are more active, and still the user's."""
        missing = local.following.difference(one.seat.conversation_id for one in standings)
        if not missing or len(standings) < snapshot.MAX_FOLLOWED:
            return set()
        return await snapshot.still_in(self._pool, user_id, missing)

    def _reconcile(
        self, user_id: str, local: Local, standings: Sequence[Standing], passed_over: set[int]
    ) -> None:
        there = {one.seat.conversation_id: one for one in standings}
        followed = {id_: self._hub.streams[id_].followers[user_id] for id_ in local.following}
        still = {id_ for id_, one in there.items() if followed.get(id_) == one.seat.joined_seq}
        for id_ in followed.keys() - still:  # whoever has come again since has been out of it
            self._hub.unfollow(user_id, id_)
            if id_ in passed_over:
                continue
            frame = frames.conversation(id_, "left", [user_id], None)
            for listener in local.listeners:
                listener.frame(frame)
        for id_, one in there.items():
            if id_ in still:
                continue
            stream = self._hub.streams.get(id_) or _stream(one)
            self._hub.follow(user_id, stream, joined_seq=one.seat.joined_seq)
            for listener in local.listeners:  # they know nothing of it
                held = listener.hold(id_)
                listener.start(self._introduce(listener, stream, held, one))
        local.memberships = snapshot.fingerprint(standings)

    async def _introduce(self, listener: Listener, stream: Stream, held: Held, one: Standing) -> None:
        """Tell a socket of a conversation that is new to it, and what has been said there."""
        seat = one.seat
        begins = Behind(
            stream, held, seq=seat.joined_seq, change=seat.last_change, joined_seq=seat.joined_seq
        )
        if begins.is_over(listener):
            return
        listener.frame(frames.conversation(seat.conversation_id, "opened", [listener.user_id], one))
        _catch_up_marks(listener, stream, one)
        try:
            await self._filler.catch_up(self._hub, listener, [begins])
        except TROUBLE as error:
            log.warning("chat_sockets_dropped", error=str(error) or type(error).__name__)
            listener.end(codes.UNAVAILABLE)

    def _leave(self, user_id: str, local: Local) -> None:
        local.holders -= 1
        if local.holders:
            return
        for id_ in list(local.following):
            self._hub.unfollow(user_id, id_)
        del self._hub.users[user_id]
        self._channels.release([of_user(user_id)])


def _catch_up_marks(listener: Listener, stream: Stream, one: Standing) -> None:
    """Marks that came between the look and now went to those who were there, and are not told again."""
    for user_id, seen in _marks(one).items():
        now = stream.marks.get(user_id, NO_MARKS)
        if now[0] > seen[0] or now[1] > seen[1]:
            listener.receipt(stream.conversation_id, user_id, now)


def _stream(one: Standing) -> Stream:
    seat = one.seat
    if seat.peer is None:
        return Stream(seat.conversation_id, None, seat.last_seq, seat.last_change)
    stream = Stream(seat.conversation_id, (seat.user_id, seat.peer), seat.last_seq, seat.last_change)
    stream.marks = _marks(one)
    return stream


def _marks(one: Standing) -> dict[str, tuple[int, int]]:
    seat = one.seat
    marks = {seat.user_id: (seat.delivered_seq, seat.read_seq)}
    if seat.peer is not None and one.peer_marks is not None:
        marks[seat.peer] = one.peer_marks
    return marks
