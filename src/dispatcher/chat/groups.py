"""Groups: make one, rename it, close it."""

from collections.abc import Sequence

from dispatcher.chat.happened import Rearranged, Tell
from dispatcher.chat.ids import NOW
from dispatcher.chat.limits import MAX_MEMBERS
from dispatcher.chat.open_dm import unknown_sender
from dispatcher.chat.seat import Role, Seat, find_seat
from dispatcher.chat.users import no_such_user
from dispatcher.kernel.db import Connection, Pool
from dispatcher.kernel.errors import ForbiddenError, InvalidRequestError, NotFoundError

_LOCK = "SELECT kind FROM conversations WHERE id = $1 FOR NO KEY UPDATE"
_RANK: dict[Role, int] = {"member": 0, "admin": 1, "owner": 2}


async def add_group(pool: Pool, tell: Tell, owner: str, name: str, members: Sequence[str]) -> Seat:
    """The owner's seat in a new group of these members.

    Raises:
        ForbiddenError: The owner is no user.
        NotFoundError: One of the members is none.
    """
    others = sorted(set(members) - {owner})
    if len(others) >= MAX_MEMBERS:
        raise InvalidRequestError(f"members: a group has at most {MAX_MEMBERS}, its owner included")
    async with pool.acquire() as connection, connection.transaction():
        must_be_users(await locked_users(connection, [owner, *others]), owner, others)
        conversation_id: int = await connection.fetchval(
            f"INSERT INTO conversations (kind, name, last_id, member_count) VALUES ('group', $1, {NOW}, $2) RETURNING id",
            name,
            len(others) + 1,
        )
        await connection.execute(
            """
            INSERT INTO members (conversation_id, user_id, role, joined_seq, joined_id, delivered_seq, read_seq)
            SELECT c.id, who, CASE who WHEN $2 THEN 'owner' ELSE 'member' END, 0, c.last_id, 0, 0
            FROM conversations c, unnest($3::text[]) AS who WHERE c.id = $1
            """,
            conversation_id,
            owner,
            [owner, *others],
        )
        seat = await find_seat(connection, conversation_id, owner)
    tell(Rearranged(conversation_id, "opened", [owner, *others]))
    return seat


async def rename_group(pool: Pool, tell: Tell, group_id: int, by: str, name: str) -> Seat:
    """The seat of whoever renamed it.

    Raises:
        NotFoundError: There is no such group, as far as `by` may know.
        ForbiddenError: `by` is neither its owner nor an admin, or no longer a member.
    """
    async with pool.acquire() as connection, connection.transaction():
        await locked_group(connection, group_id, by, at_least="admin")
        await connection.execute("UPDATE conversations SET name = $2 WHERE id = $1", group_id, name)
        seat = await find_seat(connection, group_id, by)
    tell(Rearranged(group_id, "renamed"))
    return seat


async def close_group(pool: Pool, tell: Tell, group_id: int, by: str) -> None:
    """Nobody is a member any longer; what was written goes when it is old.

    Raises:
        NotFoundError: There is no such group, as far as `by` may know.
        ForbiddenError: `by` is not its owner.
    """
    async with pool.acquire() as connection, connection.transaction():
        await locked_group(connection, group_id, by, at_least="owner")
        rows = await connection.fetch(
            """
            WITH closed AS (
                UPDATE conversations SET closed_at = now(), member_count = 0 WHERE id = $1 RETURNING last_seq
            ), held AS MATERIALIZED (
                SELECT user_id FROM members WHERE conversation_id = $1 AND left_seq IS NULL
                ORDER BY user_id FOR NO KEY UPDATE
            )
            UPDATE members m SET left_seq = closed.last_seq FROM closed, held
            WHERE m.conversation_id = $1 AND m.user_id = held.user_id RETURNING m.user_id
            """,
            group_id,
        )
    tell(Rearranged(group_id, "closed", [row["user_id"] for row in rows]))


async def find_group(pool: Pool, group_id: int, user_id: str) -> Seat:
    """The user's seat in this group.

    Raises:
        NotFoundError: There is no such group, as far as the user may know.
        ForbiddenError: The user was a member, and is no longer.
    """
    seat = await find_seat(pool, group_id, user_id, what="group")
    if seat.kind != "group":
        raise NotFoundError(f"there is no group {group_id}")
    return seat


async def locked_group(connection: Connection, group_id: int, by: str, *, at_least: Role) -> Seat:
    """The seat of `by`, with the group's row locked: nobody else changes who is in it until the transaction ends.

    Raises:
        NotFoundError: There is no such group, as far as `by` may know.
        ForbiddenError: `by` is less than that, or no longer a member.
    """
    kind = await connection.fetchval(_LOCK, group_id)
    if kind != "group":
        raise NotFoundError(f"there is no group {group_id}")
    seat = await find_seat(connection, group_id, by, what="group")
    if _RANK[seat.role] < _RANK[at_least]:
        raise ForbiddenError(
            f"only {'its owner' if at_least == 'owner' else 'an owner or admin'} of the group may"
        )
    return seat


async def locked_users(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of them who are users, and stay users until the transaction ends. Before any conversation is locked."""
    rows = await connection.fetch(
        "SELECT id FROM users WHERE id = ANY($1) AND deleted_at IS NULL ORDER BY id FOR SHARE", ids
    )
    return {row["id"] for row in rows}


def must_be_users(there: set[str], by: str, others: Sequence[str]) -> None:
    """Nothing, when all of them are among those who are there.

    Raises:
        ForbiddenError: `by` is not.
        NotFoundError: One of the others is not.
    """
    if by not in there:
        raise unknown_sender(by)
    if missing := [one for one in others if one not in there]:
        raise no_such_user(missing[0])
