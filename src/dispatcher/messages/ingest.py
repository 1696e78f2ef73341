"""Ingest: collects what requests bring while a batch is being written, and writes it as the next batch.

Group commit without a timer: a lone message is written at once, many at a time fill batches by themselves. Nobody is
answered before the commit.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeAlias

import structlog

from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import TROUBLE, UNAVAILABLE, Pool
from dispatcher.kernel.deadline import within
from dispatcher.kernel.errors import ConflictError, DispatcherError, UnavailableError
from dispatcher.kernel.web import ANSWER_SECONDS
from dispatcher.messages.arrived import Arrived, tell
from dispatcher.messages.idempotency import Answer, IdempotencyKey, claim_keys, give_up_keys, keep_answers
from dispatcher.messages.insert import REFUSED, NewMessage, insert_at
from dispatcher.messages.insert_each import Refusal, Result, insert_each

log = structlog.get_logger()

BATCH = 500
BACKLOG = 8 * BATCH
"""Requests of one message that may wait; beyond it they are turned away, so that a slow Postgres fills no memory."""
BULK_AT_ONCE = 2
BULK_BACKLOG = 16
"""Requests of many messages in hand, the two that are being written included."""

UNKNOWN = (
    "Postgres does not answer at the moment, and whether the messages are in is not known; "
    "send them again with the same Idempotency-Key: they go in once"
)


class KeyReusedError(ConflictError):
    """The idempotency key came with another request before."""


Outcome: TypeAlias = Answer | Sequence[Refusal] | DispatcherError


@dataclass(slots=True, eq=False)
class Submission:
    """The messages of one request; with none of them and a key it asks what was answered to the request before."""

    messages: Sequence[NewMessage]
    answer: Callable[[Sequence[Result], datetime], Answer]
    """What to answer when at least one of them is in: made before the commit, to be kept with the key."""
    key: IdempotencyKey | None = None


@dataclass(slots=True, eq=False)
class _Waiting:
    submission: Submission
    outcome: asyncio.Future[Outcome]
    since: float


class Ingest:
    """Puts messages in, those of a request in one transaction, and answers after the commit.

    `arrived` is told after each commit, before anybody is answered.
    """

    def __init__(self, pool: Pool, arrived: Arrived | None = None) -> None:
        self._pool = pool
        self._arrived: Arrived = {} if arrived is None else arrived
        self._plain = _Gathering(self._write_plain)
        self._keyed = _Gathering(self._write)
        self._bulk_turn = asyncio.Semaphore(BULK_AT_ONCE)
        self._bulk_waiting = 0

    async def run(self) -> None:
        """Write what is submitted, forever."""
        async with asyncio.TaskGroup() as writers:
            writers.create_task(self._plain.run())
            writers.create_task(self._keyed.run())

    async def submit(self, submission: Submission) -> Answer | Sequence[Refusal]:
        """The answer, or why none of the messages is in.

        Raises:
            KeyReusedError: The key belongs to another request.
            UnavailableError: Postgres does not answer, or too much is waiting for it.
        """
        if len(submission.messages) > 1:
            outcome = await self._bulk(submission)
        else:
            outcome = await (self._keyed if submission.key else self._plain).add(submission)
        if isinstance(outcome, DispatcherError):
            raise outcome
        return outcome

    async def _bulk(self, submission: Submission) -> Outcome:
        """A batch of its own: small requests do not wait for it."""
        if self._bulk_waiting == BULK_BACKLOG:
            raise _overloaded()

        async def in_turn() -> Sequence[Outcome]:
            async with self._bulk_turn:
                return await self._write([submission])

        self._bulk_waiting += 1
        try:
            return (await within(ANSWER_SECONDS, in_turn()))[0]
        except TROUBLE as error:
            _say(error, len(submission.messages))
            raise UnavailableError(UNKNOWN) from None
        finally:
            self._bulk_waiting -= 1

    async def _write_plain(self, batch: Sequence[Submission]) -> Sequence[Outcome]:
        """One statement for all of them; only when one is refused, each for itself."""
        try:
            ids, at = await insert_at(self._pool, [one.messages[0] for one in batch])
        except REFUSED:
            return await self._write(batch)
        tell(self._arrived, (one.messages[0] for one in batch), at)
        return [one.answer([id_], at) for one, id_ in zip(batch, ids, strict=True)]

    async def _write(self, batch: Sequence[Submission]) -> Sequence[Outcome]:
        """Claim their keys, insert the messages of those that are new, keep their answers: one transaction."""
        inserted: tuple[Sequence[NewMessage], datetime] | None = None
        async with self._pool.acquire() as connection, connection.transaction():
            keys = [one.key for one in batch if one.key]
            known = await claim_keys(connection, keys) if keys else {}
            new = [one for one in batch if one.key is None or one.key.key not in known]
            outcomes: dict[Submission, Outcome] = {}
            if new:
                messages = [message for one in new for message in one.messages]
                results, at = await insert_each(connection, messages)
                inserted = messages, at
                of_each = iter(results)
                for one in new:
                    outcomes[one] = _outcome(one, list(islice(of_each, len(one.messages))), at)
            answers = {one.key.key: outcomes[one] for one in new if one.key}
            kept = {key: answer for key, answer in answers.items() if isinstance(answer, Answer)}
            if kept:
                await keep_answers(connection, kept)
            if len(kept) < len(answers):
                await give_up_keys(connection, list(answers.keys() - kept.keys()))
        if inserted:
            tell(self._arrived, *inserted)  # of one that was refused too: a look for nothing
        for one in batch:
            if one.key and one.key.key in known:
                before = known[one.key.key]
                same = before.fingerprint == one.key.fingerprint
                outcomes[one] = (
                    before.answer
                    if same
                    else KeyReusedError(
                        "Idempotency-Key: it came with another request before; choose a new one for each request"
                    )
                )
        return [outcomes[one] for one in batch]


def _outcome(submission: Submission, results: Sequence[Result], at: datetime) -> Outcome:
    refused = [result for result in results if isinstance(result, Refusal)]
    return refused if len(refused) == len(results) else submission.answer(results, at)


class _Gathering:
    """What waits to be written, and the loop that writes it."""

    def __init__(
        self, write: Callable[[Sequence[Submission]], Coroutine[Any, Any, Sequence[Outcome]]]
    ) -> None:
        self._write = write
        self._waiting: list[_Waiting] = []
        self._filled = asyncio.Event()

    async def add(self, submission: Submission) -> Outcome:
        """What came of it, after the commit."""
        if len(self._waiting) >= BACKLOG:
            raise _overloaded()
        waiting = _Waiting(submission, asyncio.get_running_loop().create_future(), elapsed())
        self._waiting.append(waiting)
        self._filled.set()
        return await waiting.outcome

    async def run(self) -> None:
        """Write batches forever."""
        while True:
            await self._filled.wait()
            batch = self._take()
            if not self._waiting:
                self._filled.clear()
            await self._flush(batch)

    def _take(self) -> list[_Waiting]:
        """The next batch, in which no key is twice: a repeat comes after the one it repeats."""
        batch: list[_Waiting] = []
        later: list[_Waiting] = []
        keys: set[str] = set()
        for number, waiting in enumerate(self._waiting):
            if len(batch) == BATCH:
                later += self._waiting[number:]
                break
            key = waiting.submission.key
            if key is None or key.key not in keys:
                batch.append(waiting)
                if key:
                    keys.add(key.key)
            else:
                later.append(waiting)
        self._waiting = later
        return batch

    async def _flush(self, batch: Sequence[_Waiting]) -> None:
        outcomes: Sequence[Outcome] = [UnavailableError(UNKNOWN) for _ in batch]
        left = ANSWER_SECONDS - (elapsed() - batch[0].since)
        try:
            outcomes = await within(max(left, 0), self._write([waiting.submission for waiting in batch]))
        except TROUBLE as error:
            _say(error, len(batch))
        finally:
            # whatever happened, nobody waits for ever
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if not waiting.outcome.done():
                    waiting.outcome.set_result(outcome)


def _say(error: Exception, messages: int) -> None:
    say = log.warning if isinstance(error, UNAVAILABLE) else log.error
    say("ingest_without_postgres", messages=messages, error=str(error) or type(error).__name__)


def _overloaded() -> UnavailableError:
    return UnavailableError("too many messages wait to be written; nothing of this request is in; try again")
