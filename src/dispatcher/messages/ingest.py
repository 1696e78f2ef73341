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

from dispatcher.kernel.db import TROUBLE, UNAVAILABLE, Pool
from dispatcher.kernel.deadline import within
from dispatcher.kernel.errors import ConflictError, DispatcherError, UnavailableError
from dispatcher.kernel.gathering import Gathering
from dispatcher.kernel.web import ANSWER_SECONDS
from dispatcher.messages.arrived import Arrived, tell
from dispatcher.messages.idempotency import Answer, IdempotencyKey, claim_keys, give_up_keys, keep_answers
from dispatcher.messages.insert import REFUSED, NewMessage, insert_at
from dispatcher.messages.insert_each import Refusal, Result, insert_each

log = structlog.get_logger()

BULK_AT_ONCE = 2
BULK_BACKLOG = 16
"""Requests of many messages in hand, the two that are being written included."""

UNKNOWN = (
    "Postgres does not answer at the moment, and whether the messages are in is not known; "
    "send them again with the same Idempotency-Key: they go in once"
)


OVERLOADED = "too many messages wait to be written; nothing of this request is in; try again"


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


class Ingest:
    """Puts messages in, those of a request in one transaction, and answers after the commit.

    `arrived` is told after each commit, before anybody is answered.
    """

    def __init__(self, pool: Pool, arrived: Arrived | None = None) -> None:
        self._pool = pool
        self._arrived: Arrived = {} if arrived is None else arrived
        self._plain = _gathering(self._write_plain)
        self._keyed = _gathering(self._write)
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
            raise UnavailableError(OVERLOADED)

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


def _gathering(
    write: Callable[[Sequence[Submission]], Coroutine[Any, Any, Sequence[Outcome]]],
) -> Gathering[Submission, Outcome]:
    return Gathering(
        write,
        key=lambda submission: submission.key.key if submission.key else None,
        seconds=ANSWER_SECONDS,
        overloaded=OVERLOADED,
        unknown=UNKNOWN,
        failed=_say,
    )


def _say(error: Exception, messages: int) -> None:
    say = log.warning if isinstance(error, UNAVAILABLE) else log.error
    say("ingest_without_postgres", messages=messages, error=str(error) or type(error).__name__)
