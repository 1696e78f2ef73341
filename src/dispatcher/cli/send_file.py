"""The rows of a file into the table, batch by batch, with an account of what is in when something stops it."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait

from anyio.from_thread import BlockingPortal, start_blocking_portal
from rich.console import Console

from dispatcher.cli.console import err
from dispatcher.cli.rows import Bad, Batch
from dispatcher.kernel.db import UNAVAILABLE, Pool, connected_pool
from dispatcher.kernel.errors import InvalidRequestError, UnavailableError
from dispatcher.messages.copy_in import copy_in

LAST_BATCH_SECONDS = 2.0
"""How long a Ctrl-C waits for the batch that is going in, to say what became of it."""
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
        # The event loop has a thread of its own: a batch is read while the one before it goes in, and a Ctrl-C can
        # end a read that waits for input.
        with (
            start_blocking_portal() as loop,
            loop.wrap_async_context_manager(
                connected_pool(db_url, application="dispatcher send", size=1)
            ) as pool,
        ):
            try:
                self._send_all(loop, pool)
            except InvalidRequestError as error:
                raise InvalidRequestError(f"{error.detail}; {self._account()}") from None
            except KeyboardInterrupt:
                err.print(f"Interrupted; {self._account()}.")
                raise
        if not self.inserted and not self.skipped:
            raise InvalidRequestError("the file has no messages")

    def _send_all(self, loop: BlockingPortal, pool: Pool) -> None:
        insert: Future[None] | None = None
        try:
            for batch in self._batches:
                for bad in batch.bad:
                    self._bad(bad)
                if batch.recipients:
                    if insert is not None:
                        insert.result()
                    self._under_way = batch
                    insert = loop.start_task_soon(self._insert, pool, batch)
        except KeyboardInterrupt:
            if insert is not None:
                wait([insert], LAST_BATCH_SECONDS)
            raise
        except InvalidRequestError:
            if insert is not None:
                insert.result()
            raise
        if insert is not None:
            insert.result()

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
