"""The rows of a file into the table, batch by batch, with an account of what is in when something stops it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

from rich.console import Console

from dispatcher.cli.console import err
from dispatcher.cli.rows import Bad, Batch
from dispatcher.kernel.db import UNAVAILABLE, Pool, connected_pool
from dispatcher.kernel.errors import InvalidRequestError, UnavailableError
from dispatcher.messages.copy_in import copy_in

LISTED = 10
"""Skipped rows that are listed."""


class FileSending:
    """One file on its way in."""

    def __init__(
        self, batches: Iterator[Batch], *, skip_bad: bool, on_inserted: Callable[[int], None]
    ) -> None:
        self._batches = batches
        self._skip_bad = skip_bad
        self._on_inserted = on_inserted
        self._last_line = 0
        self._under_way: Batch | None = None
        self.inserted = 0
        """Messages that are in the table."""
        self.skipped = 0
        self._listed: list[Bad] = []

    def send(self, db_url: str) -> None:
        """Insert them all.

        Raises:
            InvalidRequestError: A row is bad; nothing of its batch is in.
            UnavailableError: The database went away.
        """
        # The loop runs for the inserts alone: inside it a Ctrl-C could not end a read that waits for input.
        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            pool = runner.run(
                stack.enter_async_context(connected_pool(db_url, application="dispatcher send", size=1))
            )
            try:
                for batch in self._batches:
                    for bad in batch.bad:
                        self._bad(bad)
                    if batch.recipients:
                        self._under_way = batch
                        runner.run(self._insert(pool, batch))
            except InvalidRequestError as error:
                raise InvalidRequestError(f"{error.detail}; {self._account()}") from None
            except KeyboardInterrupt:
                err.print(f"Interrupted; {self._account()}.")
                raise
            finally:
                runner.run(stack.aclose())
        if not self.inserted and not self.skipped:
            raise InvalidRequestError("the file has no messages")

    def report_skipped(self, console: Console) -> None:
        """Say which rows were left out."""
        if not self.skipped:
            return
        console.print(f"Left out {self.skipped:,} bad rows:")
        for bad in self._listed:
            console.print(f"  line {bad.line}: {bad.reason}", markup=False)
        if self.skipped > LISTED:
            console.print(f"  and {self.skipped - LISTED:,} more")

    def _bad(self, bad: Bad) -> None:
        if not self._skip_bad:
            raise InvalidRequestError(f"line {bad.line}: {bad.reason}")
        self.skipped += 1
        if len(self._listed) < LISTED:
            self._listed.append(bad)

    async def _insert(self, pool: Pool, batch: Batch) -> None:
        try:
            await copy_in(pool, batch.recipients, batch.contents)
        except UNAVAILABLE as error:
            raise UnavailableError(
                f"the database went away ({str(error) or type(error).__name__}); {self._account()}"
            ) from None
        self.inserted += len(batch.recipients)
        self._last_line = batch.last_line
        self._under_way = None
        self._on_inserted(self.inserted)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # A Ctrl-C that met the answer of the insert: asyncpg returns the answer and drops the cancellation.
            raise asyncio.CancelledError

    def _account(self) -> str:
        if self.inserted:
            known = f"{self.inserted:,} messages were inserted, those up to line {self._last_line}"
        else:
            known = "nothing was inserted"
        if self._under_way is None:
            return known
        # Its commit may have arrived where its answer did not.
        lines = f"{self._under_way.first_line} to {self._under_way.last_line}"
        return f"{known}; whether lines {lines} are in is not known: look before you send them again"
