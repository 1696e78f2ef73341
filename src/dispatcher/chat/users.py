"""Users: add one, look at one, list them, rename one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import ConflictError, NotFoundError

_COLUMNS = "id, name, created_at"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may talk."""

    id: str
    name: str | None
    created_at: datetime

    @classmethod
    def of(cls, row: asyncpg.Record) -> "User":
        """From a row."""
        return cls(row["id"], row["name"], row["created_at"])


def no_such_user(id_: str) -> NotFoundError:
    """What is said of an id that is nobody's, and of one that is none of the asker's business."""
    return NotFoundError(f"there is no user {id_}")


async def add_user(pool: Pool, id_: str, name: str | None) -> tuple[User, bool]:
    """The user with this id, and whether it is new. One who is there already stays as they are.

    Raises:
        ConflictError: The id was a deleted user's: whoever knew them must not take another for them.
    """
    added = await pool.fetchrow(
        f"""
        INSERT INTO users (id, name) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING {_COLUMNS}
        """,
        id_,
        name,
    )
    if added:
        return User.of(added), True
    there = await pool.fetchrow(f"SELECT {_COLUMNS} FROM users WHERE id = $1 AND deleted_at IS NULL", id_)
    if there is None:
        raise ConflictError(f"user {id_} was deleted; an id is not given twice")
    return User.of(there), False


async def look_user(pool: Pool, id_: str, *, for_user: str | None = None) -> User:
    """The user with this id; `for_user` sees themselves and those they share a conversation with, None everybody.

    Raises:
        NotFoundError: There is none, as far as `for_user` may know.
    """
    row = await pool.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM users WHERE id = $1 AND deleted_at IS NULL AND ($2::text IS NULL OR id = $2 OR EXISTS (
            SELECT FROM members mine JOIN members theirs USING (conversation_id)
            WHERE mine.user_id = $2 AND theirs.user_id = $1 AND mine.left_seq IS NULL AND theirs.left_seq IS NULL
        ))
        """,
        id_,
        for_user,
    )
    if row is None:
        raise no_such_user(id_)
    return User.of(row)


async def list_users(pool: Pool, *, limit: int, after: str = "") -> Sequence[User]:
    """At most `limit` users behind the id `after`, in the order of their ids."""
    rows = await pool.fetch(
        f"SELECT {_COLUMNS} FROM users WHERE id > $1 AND deleted_at IS NULL ORDER BY id LIMIT $2",
        after,
        limit,
    )
    return [User.of(row) for row in rows]


async def rename_user(pool: Pool, id_: str, name: str | None) -> User:
    """The user under the new name.

    Raises:
        NotFoundError: There is none.
    """
    row = await pool.fetchrow(
        f"UPDATE users SET name = $2 WHERE id = $1 AND deleted_at IS NULL RETURNING {_COLUMNS}", id_, name
    )
    if row is None:
        raise no_such_user(id_)
    return User.of(row)
