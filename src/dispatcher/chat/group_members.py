"""Members of a group: who is in it, who comes, who goes, and who may do what."""

from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.chat.groups import locked_group, locked_users, must_be_users
from dispatcher.chat.happened import Rearranged, Tell
from dispatcher.chat.leave import leave
from dispatcher.chat.limits import MAX_MEMBERS
from dispatcher.chat.seat import Role, Seat
from dispatcher.kernel.db import Connection, Pool
from dispatcher.kernel.errors import ConflictError, ForbiddenError, NotFoundError

_MEMBERS = """
SELECT m.user_id, m.role, u.name, m.delivered_seq, m.read_seq FROM members m JOIN users u ON u.id = m.user_id
WHERE m.conversation_id = $1 AND m.left_seq IS NULL
"""
# Whoever comes again begins anew: with what is sent from now on.
_JOIN = """
INSERT INTO members AS m (conversation_id, user_id, role, joined_seq, joined_id, delivered_seq, read_seq)
SELECT id, $2, $3, last_seq, last_id, last_seq, last_seq FROM conversations WHERE id = $1
ON CONFLICT (conversation_id, user_id) DO UPDATE SET
    role = excluded.role, joined_seq = excluded.joined_seq, joined_id = excluded.joined_id, left_seq = NULL,
    delivered_seq = excluded.delivered_seq, read_seq = excluded.read_seq, muted = false
WHERE m.left_seq IS NOT NULL
RETURNING user_id
"""
# In the order in which others lock several members, who would otherwise wait for each other.
_HOLD = """
SELECT FROM members WHERE conversation_id = $1 AND user_id = ANY($2) ORDER BY user_id FOR NO KEY UPDATE
"""


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a conversation."""

    user_id: str
    role: Role
    name: str | None
    delivered_seq: int
    read_seq: int


async def members_of(pool: "Pool | Connection", conversation_id: int) -> Sequence[Member]:
    """Those who are in it now, by id: of two users both, of a group at most MAX_MEMBERS."""
    return [Member(**row) for row in await pool.fetch(f"{_MEMBERS} ORDER BY m.user_id", conversation_id)]


async def add_member(
    pool: Pool, tell: Tell, group_id: int, user_id: str, *, by: str, role: Role
) -> tuple[Member, bool]:
    """The member, and whether they have just come in. They see what is sent from now on.

    Raises:
        NotFoundError: There is no such group, as far as `by` may know, or no such user.
        ForbiddenError: `by` is neither owner nor admin, or would make more of somebody than they are.
        ConflictError: The group is full.
    """
    async with pool.acquire() as connection, connection.transaction():
        users = await locked_users(connection, [by, user_id])
        seat = await locked_group(connection, group_id, by, at_least="admin")
        _must_outrank(seat, role)
        must_be_users(users, by, [user_id])
        came = await connection.fetchval(_JOIN, group_id, user_id, role)
        if came:
            if seat.member_count >= MAX_MEMBERS:
                raise ConflictError(f"the group is full: it has {MAX_MEMBERS} members")
            await connection.execute(
                "UPDATE conversations SET member_count = member_count + 1 WHERE id = $1", group_id
            )
        member = await _member(connection, group_id, user_id)
    if came:
        tell(Rearranged(group_id, "joined", [user_id]))
    return member, came is not None


async def change_role(pool: Pool, tell: Tell, group_id: int, user_id: str, *, by: str, role: Role) -> Member:
    """The member in the new role. Making somebody else the owner makes the one who does it an admin.

    Raises:
        NotFoundError: There is no such group, as far as `by` may know, or no such member.
        ForbiddenError: `by` is not the owner.
        ConflictError: The owner would be none any longer, and nobody else.
    """
    async with pool.acquire() as connection, connection.transaction():
        await locked_group(connection, group_id, by, at_least="owner")
        member = await _member(connection, group_id, user_id)
        if member.role == role:
            return member
        if user_id == by:
            raise ConflictError("the owner stays one until somebody else is made the owner")
        await connection.execute(_HOLD, group_id, [by, user_id])
        changed = [user_id]
        if role == "owner":
            changed.append(by)
            await _set_role(connection, group_id, by, "admin")
        await _set_role(connection, group_id, user_id, role)
        member = await _member(connection, group_id, user_id)
    tell(Rearranged(group_id, "role", changed))
    return member


async def remove_member(pool: Pool, tell: Tell, group_id: int, user_id: str, *, by: str) -> None:
    """The user is no longer a member. An owner who goes leaves the group to the admin who has been there longest.

    Raises:
        NotFoundError: There is no such group, as far as `by` may know, or no such member.
        ForbiddenError: `by` is neither this user nor above them.
    """
    async with pool.acquire() as connection, connection.transaction():
        seat = await locked_group(connection, group_id, by, at_least="member")
        if user_id != by:
            if seat.role == "member":
                raise ForbiddenError("only an owner or admin of the group may remove others")
            member = await _member(connection, group_id, user_id)
            if seat.role == "admin" and member.role != "member":
                raise ForbiddenError(
                    f"{user_id} is {member.role}: only the owner of the group may remove them"
                )
        (left,) = await leave(connection, [group_id], user_id)
    tell(Rearranged(group_id, "left", [user_id]))
    if left.heir is not None:
        tell(Rearranged(group_id, "role", [left.heir]))


async def _member(connection: Connection, group_id: int, user_id: str) -> Member:
    row = await connection.fetchrow(f"{_MEMBERS} AND m.user_id = $2", group_id, user_id)
    if row is None:
        raise NotFoundError(f"{user_id} is no member of group {group_id}")
    return Member(**row)


async def _set_role(connection: Connection, group_id: int, user_id: str, role: Role) -> None:
    await connection.execute(
        "UPDATE members SET role = $3 WHERE conversation_id = $1 AND user_id = $2", group_id, user_id, role
    )


def _must_outrank(seat: Seat, role: Role) -> None:
    if role == "owner" or (role == "admin" and seat.role != "owner"):
        raise ForbiddenError("only the owner of the group makes admins, and PATCH makes another owner")
