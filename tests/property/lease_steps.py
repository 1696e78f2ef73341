"""The steps of the lease model against Postgres: each does one thing, compares the answer, and tells the model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

from tests.integration.rows import OUTCOMES, result
from tests.property.lease_model import Claimer, Kept, LeaseModel

from dispatcher.delivery import pace, schedule
from dispatcher.delivery.pace import Pace
from dispatcher.kernel.clock import unix_time, utc_now
from dispatcher.kernel.db import Connection, Pool
from dispatcher.messages.claim import ClaimedMessage, claim
from dispatcher.messages.frontier import Frontier, Search
from dispatcher.messages.release import release
from dispatcher.messages.rescue import ExpiredLease, Receipt, expired, rescue, verdict
from dispatcher.messages.retention import delete_held, drop_days, make_days
from dispatcher.messages.settle import Settlement, settle
from dispatcher.messages.state import State

LANES = ("webhook", "console")
PACE = Pace(rate_limit=2, interval=timedelta(seconds=1), queue_capacity=1, auto_sending=True, blocked=None)
READ_BACK = """
SELECT id, lane, state, priority, deliver_at, deliver_at <= now() AS due, attempt_count, lease_id,
       tableoid::regclass::text AS part
FROM messages
"""


@dataclass(slots=True)
class ToldFrontier(Frontier):
    """A frontier that is told when to return to the head: when it does by itself is a question of time."""

    from_head: bool = True

    def search(self, now: float) -> Search:  # noqa: ARG002 - the caller decides
        return Frontier.search(self, math.inf if self.from_head else -1.0)


@dataclass(slots=True)
class Leases:
    """Three claimers, two of one lane, on tables that were emptied; and the model of it all."""

    pool: Pool
    model: LeaseModel = field(default_factory=LeaseModel)
    claimers: list[Claimer] = field(default_factory=lambda: [Claimer(LANES[n // 2]) for n in range(3)])
    frontiers: list[ToldFrontier] = field(default_factory=lambda: [ToldFrontier() for _ in range(3)])
    claims: list[ClaimedMessage] = field(default_factory=list)
    """Every claim ever made, also those whose lease is gone."""
    seen_expired: list[ExpiredLease] = field(default_factory=list)
    """What a rescuer has seen and not yet acted on."""
    holder: "Connection | None" = None

    async def begin(self) -> None:
        await self.pool.execute("DELETE FROM messages")
        await self.pool.execute("DELETE FROM attempts")
        await self.pool.execute("DELETE FROM schedules")
        for lane in LANES:
            await schedule.create(self.pool, lane, PACE, None)

    async def end(self) -> None:
        """With every lock gone and one search from the head, all that is due is found, in its order."""
        await self.let_go()
        await self.switch(running=True)
        for claimer, frontier in zip(self.claimers, self.frontiers, strict=True):
            await self._claim(claimer, frontier, limit=10_000, from_head=True)
        assert not any(self.model.due(lane) for lane in LANES)
        await self.check()

    async def check(self) -> None:
        """Postgres holds each message exactly once, in the part of its state, and exactly the attempts made."""
        rows = await self.pool.fetch(READ_BACK)
        there = {
            r["id"]: (r["state"], r["priority"], r["deliver_at"], r["attempt_count"], r["lease_id"])
            for r in rows
        }
        assert len(rows) == len(there), "no id is in two parts"
        assert there == self.model.stored()
        made = await self.pool.fetch("SELECT message_id, number, outcome FROM attempts")
        assert sorted(tuple(row) for row in made) == sorted(self.model.attempts)

    async def insert(self, lane: str, priority: int, due_in: timedelta, count: int) -> None:
        rows = await self.pool.fetch(
            "INSERT INTO messages (lane, recipient_phone, content, priority, deliver_at) "
            "SELECT $1, '+90555', 'x', $2, now() + $3 FROM generate_series(1, $4::int) "
            "RETURNING id, deliver_at",
            *(lane, priority, due_in, count),
        )
        for row in rows:
            due = due_in <= timedelta(0)
            self.model.messages[row["id"]] = Kept(row["id"], lane, priority, row["deliver_at"], due)

    async def insert_plainly(self) -> None:
        row = await self.pool.fetchrow(
            "INSERT INTO messages (recipient_phone, content) VALUES ('+90555', 'x') RETURNING id, deliver_at"
        )
        assert row is not None
        self.model.messages[row["id"]] = Kept(row["id"], "webhook", 1, row["deliver_at"], due=True)

    async def claim(self, who: int, *, limit: int, from_head: bool) -> None:
        await self._claim(self.claimers[who], self.frontiers[who], limit=limit, from_head=from_head)

    async def _claim(self, claimer: Claimer, frontier: ToldFrontier, *, limit: int, from_head: bool) -> None:
        wanted = self.model.claim(claimer, limit=limit, from_head=from_head)
        frontier.from_head = from_head
        got = await claim(self.pool, claimer.lane, limit=limit, lease_seconds=3600, frontier=frontier)
        assert [m.id for m in got] == [kept.id for kept in wanted], "what is due, in the order promised"
        assert [m.attempt for m in got] == [kept.attempt_count + 1 for kept in wanted]
        for message in got:
            self.model.leased([self.model.messages[message.id]], message.lease.lease_id)
        self.claims += got

    async def settle(self, ends: Sequence[tuple[int, State, UUID | None, timedelta, timedelta]]) -> None:
        """Results for claims past and present; with a foreign lease where one is given."""
        results: list[Settlement] = []
        wanted: set[int] = set()
        for nth, state, foreign, sent_ago, retry_in in ends:
            message = self.claims[nth % len(self.claims)]
            if foreign is not None:
                message = replace(message, lease=replace(message.lease, lease_id=foreign))
            outcome = OUTCOMES[state]
            told = result(
                message,
                state,
                sent_at=unix_time() - sent_ago.total_seconds() if state is State.SENT else None,
                retry_in=retry_in if state is State.PENDING else None,
            )
            if any(told.message_id == other.message_id for other in results):
                continue  # which of two contradicting results counts is nobody's promise
            results += [told, told]  # doubled, as by a settler that tries again
            if kept := self.model.held_under(message.id, message.lease.lease_id):
                self.model.ended(kept, state, outcome)
                wanted.add(message.id)
        assert await settle(self.pool, results, replica="r") == wanted, "only under its own lease"
        assert await settle(self.pool, results, replica="late") == set(), "and only once"
        await self._read_back(wanted)

    async def release(self, nths: Sequence[int]) -> None:
        messages = [self.claims[nth % len(self.claims)] for nth in nths]
        wanted = 0
        for message in messages:
            if kept := self.model.held_under(message.id, message.lease.lease_id):
                self.model.released(kept)
                wanted += 1
        assert await release(self.pool, messages) == wanted

    async def expire(self, nth: int) -> None:
        """A lease that runs out, with all the messages that are still under it."""
        lease_id = self.claims[nth % len(self.claims)].lease.lease_id
        await self.pool.execute(
            "UPDATE messages SET leased_until = now() - interval '1 s' WHERE lease_id = $1", lease_id
        )
        for kept in self.model.of(State.SENDING):
            kept.expired = kept.expired or kept.lease_id == lease_id

    async def look_for_expired(self) -> None:
        self.seen_expired = (await expired(self.pool, limit=1000)).leases
        assert {(lease.message_id, lease.lease_id) for lease in self.seen_expired} == {
            (kept.id, kept.lease_id) for kept in self.model.of(State.SENDING) if kept.expired
        }

    async def rescue(self, policy: str, max_attempts: int, *, with_receipt: int) -> None:
        """What was seen expired gets its verdict, however much has happened to it since."""
        receipts = {
            lease.message_id: Receipt(utc_now(), "theirs")
            for nth, lease in enumerate(self.seen_expired)
            if with_receipt >> nth & 1
        }
        verdicts = [
            verdict(lease, receipts.get(lease.message_id), on_uncertain=policy, max_attempts=max_attempts)
            for lease in self.seen_expired
        ]
        wanted = {}
        for lease, state in zip(self.seen_expired, verdicts, strict=True):
            kept = self.model.held_under(lease.message_id, lease.lease_id)
            if kept is not None and kept.expired:
                self.model.ended(kept, state, "delivered" if state is State.SENT else "interrupted")
                wanted[kept.id] = state
        assert await rescue(self.pool, self.seen_expired, verdicts, receipts, replica="r") == wanted
        await self._read_back(set(wanted))

    async def outlive(self, nth: int) -> None:
        """A holder and a rescuer who go on after the lease has ended and the message has been claimed again."""
        held = [n for n, m in enumerate(self.claims) if self.model.held_under(m.id, m.lease.lease_id)]
        nth = held[nth % len(held)]
        await self.expire(nth)
        await self.look_for_expired()
        await self.release([nth])
        for who in range(len(self.claimers)):
            await self.claim(who, limit=5, from_head=True)
        await self.release([nth])
        await self.settle([(nth, State.FAILED, None, timedelta(0), timedelta(0))])
        await self.rescue("hold", 1, with_receipt=0)

    async def _read_back(self, ids: set[int]) -> None:
        """When the next attempt is due is Postgres's clock's word; nothing else may change."""
        for row in await self.pool.fetch(f"{READ_BACK} WHERE id = ANY ($1)", ids):
            kept = self.model.messages[row["id"]]
            assert row["deliver_at"] >= kept.deliver_at
            assert row["deliver_at"] == kept.deliver_at or kept.state is State.PENDING
            kept.deliver_at, kept.due = row["deliver_at"], row["due"]

    async def cancel(self, nth: int) -> None:
        pending = [kept for kept in self.model.of(State.PENDING) if not kept.locked]
        kept = pending[nth % len(pending)]
        cancelled = await self.pool.fetch(
            "WITH mine AS (DELETE FROM messages_pending WHERE id = $1 RETURNING *) "
            "INSERT INTO messages (id, lane, recipient_phone, content, state, priority, deliver_at, "
            "attempt_count, last_error, held_at, created_at) "
            "SELECT id, lane, recipient_phone, content, 'cancelled', priority, deliver_at, attempt_count, "
            "last_error, now(), created_at FROM mine RETURNING id",
            kept.id,
        )
        assert [row["id"] for row in cancelled] == [kept.id]
        kept.state = State.CANCELLED

    async def resolve(self, nth: int, state: State) -> None:
        """A person decides about an uncertain one, as `docs/operations.md` says."""
        uncertain = self.model.of(State.UNCERTAIN)
        kept = uncertain[nth % len(uncertain)]
        change = "sent_status = true, sent_at = now()" if state is State.SENT else "deliver_at = now()"
        await self.pool.execute(
            f"UPDATE messages SET state = $2, {change} WHERE id = $1 AND state = 'uncertain'", kept.id, state
        )
        kept.state = state
        await self._read_back({kept.id})

    async def lock(self, nths: Sequence[int]) -> None:
        """Another transaction holds these rows until it lets go."""
        pending = self.model.of(State.PENDING)
        chosen = {pending[nth % len(pending)].id for nth in nths}
        await self.let_go()
        self.holder = await self.pool.acquire()
        await self.holder.execute("BEGIN")
        await self.holder.fetch("SELECT FROM messages WHERE id = ANY ($1) FOR UPDATE", chosen)
        for message_id in chosen:
            self.model.messages[message_id].locked = True

    async def let_go(self) -> None:
        if self.holder is not None:
            await self.holder.execute("COMMIT")
            await self.pool.release(self.holder)
            self.holder = None
        for kept in self.model.messages.values():
            kept.locked = False

    async def switch(self, *, running: bool) -> None:
        self.model.running = running
        for lane in LANES:
            await schedule.change(self.pool, lane, pace.start if running else lambda row, _: pace.stop(row))

    async def retain(self) -> None:
        """Drop every day before today, and all that failed or was cancelled; nothing else goes."""
        places = {row["id"]: row["part"] for row in await self.pool.fetch(READ_BACK)}
        made = await self.pool.fetch(
            "SELECT tableoid::regclass::text AS part, message_id, number, outcome FROM attempts"
        )
        await make_days(self.pool)
        dropped = set(await drop_days(self.pool, keep=timedelta(0)))
        ended = {kept.id for state in (State.FAILED, State.CANCELLED) for kept in self.model.of(state)}
        assert await delete_held(self.pool, keep=timedelta(0)) == len(ended)
        gone = {message_id for message_id, part in places.items() if part in dropped}
        assert all(self.model.messages[message_id].state is State.SENT for message_id in gone)
        attempts = [
            (row["message_id"], row["number"], row["outcome"]) for row in made if row["part"] in dropped
        ]
        self.model.forget(gone | ended, attempts)
