"""Postgres: one asyncpg pool per process, and what counts as "Postgres is not there right now"."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg

from dispatcher.kernel.clock import pause
from dispatcher.kernel.errors import StartupError, UnavailableError

COMMAND_SECONDS = 15.0
"""No statement of ours takes longer; a half-open connection must not hold a loop for minutes."""
CANCEL_SECONDS = 0.5
"""How long Postgres has to confirm that a statement without an answer was cancelled."""

UNAVAILABLE: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # of a connection that a killed Postgres cut in the middle of a message
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
)
"""What a statement raises while Postgres restarts, is overloaded or out of reach: worth trying again."""

NOT_NOW: tuple[type[Exception], ...] = (*UNAVAILABLE, UnavailableError)
"""The same, or what it stands for is not there yet: for loops that go on when it is."""

TROUBLE: tuple[type[Exception], ...] = (*UNAVAILABLE, asyncpg.PostgresError)
"""Everything that Postgres may say: for loops that go on whatever it is."""

CANNOT_OPEN: tuple[type[Exception], ...] = (*TROUBLE, ValueError)

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

BY_INDEX = dict.fromkeys(
    ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "enable_sort"), "off"
)
"""Every statement here finds its rows by an index and in its order. The planner must not think otherwise because a
table that fills and empties within a minute happened to be empty when its statistics were taken."""


@asynccontextmanager
async def connected_pool(url: str, *, application: str, size: int) -> AsyncIterator[Pool]:
    """A pool of at most `size` connections; opens the first one, so that a wrong address is known at once.

    A statement that gets no answer in COMMAND_SECONDS is given up, and the next one gets a new connection.

    Raises:
        StartupError: Postgres cannot be reached, or refuses the user, password or database.
    """
    dropping = set[asyncio.Task[None]]()  # the event loop alone would let them be collected while they run

    async def drop(silent: "asyncpg.Connection[asyncpg.Record]") -> None:
        # The path is half open, most likely. Left to itself, asyncpg waits as long again for an answer to its
        # cancellation, and then hands out the next connection over the same dead path.
        await pool.expire_connections()
        await pause(CANCEL_SECONDS)
        if not silent.is_closed():
            silent.terminate()

    async def watch(connection: Any) -> None:
        def done(statement: asyncpg.connection.LoggedQuery) -> None:
            if isinstance(statement.exception, TimeoutError):
                task = asyncio.create_task(drop(connection))
                dropping.add(task)
                task.add_done_callback(dropping.discard)

        connection.add_query_logger(done)

    pool: Pool = asyncpg.create_pool(
        url,
        init=watch,
        reset=_nothing_to_reset,
        min_size=1,
        max_size=size,
        timeout=5.0,
        command_timeout=COMMAND_SECONDS,
        max_inactive_connection_lifetime=60.0,
        server_settings={
            "application_name": application,
            "jit": "off",  # plans here are tiny; compiling them costs more than running them
            "timezone": "UTC",
            "idle_in_transaction_session_timeout": "30s",
            **BY_INDEX,
        },
    )
    try:
        await pool
    except CANNOT_OPEN as error:
        raise cannot_open(error) from error
    try:
        yield pool
    finally:
        pool.terminate()


async def _nothing_to_reset(_: object) -> None:
    """No statement here changes its session, so putting it in order after each would be a round trip for nothing.

    A transaction left open is still rolled back.
    """


async def database_identity(pool: Pool) -> str:
    """A word that stands for this database and no other, e.g. `6b02e9143dd8a579-16384`.

    It changes when the database is made anew, and stays the same in a physical copy. Any role may ask.
    """
    oid = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    try:
        found: str = await pool.fetchval(
            f"SELECT to_hex(system_identifier) || '-' || {oid} FROM pg_control_system()"
        )
    except (
        asyncpg.InsufficientPrivilegeError
    ):  # where somebody revoked it: less, and still better than nothing
        found = await pool.fetchval(f"SELECT {oid}::text")
    return found


def cannot_open(error: BaseException) -> StartupError:
    """What to tell a person whose database cannot be opened. Never a piece of the address: it may be a password's."""
    if isinstance(error, ValueError):  # the address itself, whose text quotes what could not be read
        problem = (
            "it cannot be read as an address; write special characters of user and password as %XX, "
            "sslmode as disable, allow, prefer, require, verify-ca or verify-full"
        )
    else:
        problem = f"{type(error).__name__}: {error}"
    return StartupError(
        f"APP_DB_URL: cannot open the database ({problem}); "
        "check host, port, user, password and that the database exists, "
        "e.g. postgres://user:password@localhost:5432/dispatcher?sslmode=disable"
    )
