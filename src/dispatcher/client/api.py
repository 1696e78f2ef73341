"""ChatApi: everything that is asked rather than listened to, over REST, typed."""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal, TypeAlias

from dispatcher.client.http import Http
from dispatcher.client.models import (
    Conversation,
    Member,
    Message,
    MessageReceipts,
    Page,
    Scheduled,
    User,
)
from dispatcher.client.token import TokenKeeper, TokenSource

PAGE = 100
"""Messages of a page, at most."""

Talk: TypeAlias = str | int
"""Which conversation: a user's id for that with the user, or the conversation's own id, which a group's is too."""


class ChatApi:
    """What one user may ask.

    Every method raises RefusedError when the service says no, and UnreachableError when it cannot be asked.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    async def add_user(self, user_id: str | None = None, name: str | None = None) -> User:
        """Add a user: oneself, or with the operator's key anybody. Idempotent."""
        return User.of(await self._http.call("POST", "/users", body=_said(id=user_id, name=name)))

    async def user(self, user_id: str) -> User:
        """One user."""
        return User.of(await self._http.get(f"/users/{user_id}"))

    async def conversations(self) -> AsyncIterator[Conversation]:
        """One's conversations, the latest active first, page after page."""
        cursor: str | None = None
        while True:
            page = await self._http.get("/conversations", cursor=cursor, limit=PAGE)
            for one in page["conversations"]:
                yield Conversation.of(one)
            if (cursor := page["next"]) is None:
                return

    async def conversation(self, conversation_id: int) -> Conversation:
        """One conversation."""
        return Conversation.of(await self._http.get(f"/conversations/{conversation_id}"))

    async def add_group(self, name: str, members: Sequence[str] = ()) -> Conversation:
        """Make a group, which one then owns."""
        return Conversation.of(
            await self._http.call("POST", "/groups", body={"name": name, "members": list(members)})
        )

    async def members(self, group_id: int) -> Sequence[Member]:
        """Who is in a group."""
        return [Member.of(one) for one in await self._http.get(f"/groups/{group_id}/members")]

    async def add_member(
        self, group_id: int, user_id: str, role: Literal["member", "admin"] = "member"
    ) -> Member:
        """Take somebody into a group. Idempotent."""
        body = {"user_id": user_id, "role": role}
        return Member.of(await self._http.call("POST", f"/groups/{group_id}/members", body=body))

    async def remove_member(self, group_id: int, user_id: str) -> None:
        """Remove somebody from a group, or leave it."""
        await self._http.call("DELETE", f"/groups/{group_id}/members/{user_id}")

    async def send(
        self,
        content: str,
        to: Talk,
        *,
        client_id: str | None = None,
        timestamp: datetime | None = None,
    ) -> Message | Scheduled:
        """Send once, without the socket; at `timestamp`, when that is in the future.

        With a `client_id` it may be repeated, within 24 hours, and is one message.
        """
        place = {"receiver_id": to} if isinstance(to, str) else {"conversation_id": to}
        moment = None if timestamp is None else timestamp.isoformat()
        shown = await self._http.call(
            "POST", "/messages", body=_said(content=content, client_id=client_id, timestamp=moment, **place)
        )
        if "scheduled_id" not in shown:
            return Message.of(shown)
        due = datetime.fromisoformat(shown["timestamp"])
        return Scheduled(shown["scheduled_id"], shown["conversation_id"], shown["content"], due)

    async def edit(self, message: Message, content: str) -> Message:
        """Change what one of one's own messages says."""
        return Message.of(await self._http.call("PATCH", _path(message), body={"content": content}))

    async def delete(self, message: Message) -> Message:
        """Delete one of one's own messages; its place stays. Idempotent."""
        return Message.of(await self._http.call("DELETE", _path(message)))

    async def receipts(self, message: Message) -> MessageReceipts:
        """How many have received and read a message, and who."""
        shown = await self._http.get(f"{_path(message)}/receipts")
        by = shown["by"]
        return MessageReceipts(
            shown["members"],
            shown["delivered"],
            shown["read"],
            None if by is None else {one["user_id"]: one["status"] for one in by},
        )

    async def page(
        self,
        talk: Talk,
        *,
        before: int | None = None,
        after: int | None = None,
        around: int | None = None,
        begins: datetime | None = None,
        ends: datetime | None = None,
        limit: int = PAGE,
    ) -> Page:
        """A page of a conversation: the newest one, or that before, after or around the message with this id.

        Only messages sent from `begins` on and before `ends`.
        """
        times = {
            name: moment.isoformat()
            for name, moment in (("from", begins), ("to", ends))
            if moment is not None
        }
        shown = await self._http.get(
            "/messages",
            **{"with" if isinstance(talk, str) else "conversation": talk, **times},
            before=before,
            after=after,
            around=around,
            limit=limit,
        )
        older, newer = (None if shown[way] is None else int(shown[way]) for way in ("older", "newer"))
        return Page([Message.of(one) for one in shown["messages"]], older, newer)

    async def newer(
        self,
        talk: Talk,
        *,
        after: int = 0,
        begins: datetime | None = None,
        ends: datetime | None = None,
    ) -> AsyncIterator[Message]:
        """From the oldest message on, or from behind the one with this id, to the newest, a page at a time."""
        place: int | None = after
        while place is not None:
            page = await self.page(talk, after=place, begins=begins, ends=ends)
            for message in page.messages:
                yield message
            place = page.newer

    async def older(
        self,
        talk: Talk,
        *,
        before: int | None = None,
        begins: datetime | None = None,
        ends: datetime | None = None,
    ) -> AsyncIterator[Message]:
        """From the newest message, or from before the one with this id, back to the oldest, a page at a time."""
        while True:
            page = await self.page(talk, before=before, begins=begins, ends=ends)
            for message in reversed(page.messages):
                yield message
            if (before := page.older) is None:
                return


@asynccontextmanager
async def chat_api(
    url: str,
    *,
    token: TokenSource | None = None,
    user_id: str | None = None,
    api_key: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[ChatApi]:
    """The API without a socket, for who only asks and sends; the arguments are those of `ChatClient`."""
    http = Http(
        url.rstrip("/"),
        token=TokenKeeper(token),
        user_id=user_id,
        api_key=api_key,
        tls=True if tls is None else tls,
    )
    try:
        yield ChatApi(http)
    finally:
        await http.close()


def _path(message: Message) -> str:
    return f"/conversations/{message.conversation_id}/messages/{message.id}"


def _said(**fields: Any) -> Mapping[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
