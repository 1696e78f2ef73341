"""GET /messages, /sent and /sent-messages."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.kernel.web import PROBLEMS, BoundedRoute
from dispatcher.messages.cursor import Cursor
from dispatcher.messages.listing import list_messages
from dispatcher.messages.query import MAX_CURSOR, MessagesQuery, PageQuery
from dispatcher.messages.recent import RecentSent
from dispatcher.messages.state import State
from dispatcher.messages.view import MessageView, message_view

_VIEWS = TypeAdapter(list[MessageView])


def message_routes(pool: Pool, recent: RecentSent) -> APIRouter:
    """The routes that list messages."""
    router = APIRouter(tags=["messages"], responses=PROBLEMS, route_class=BoundedRoute)

    async def page(request: Request, query: PageQuery, state: State) -> Response:
        cacheable = state is State.SENT and query.newest
        version, cached = await recent.read(query.lane) if cacheable else (None, None)
        if cached is not None and (kept := _kept_page(cached)) is not None:
            return _answer(*kept, request)
        rows, following = await list_messages(
            pool,
            state,
            query.filter(),
            limit=query.limit,
            offset=query.offset,
            after=Cursor.parse(query.cursor) if query.cursor else None,
        )
        read = _VIEWS.dump_json([message_view(row) for row in rows], by_alias=True)
        if cacheable:
            await recent.write(query.lane, version, f"{following or ''}\n{read.decode()}")
        return _answer(read, following, request)

    @router.get("/sent", response_model=list[MessageView], summary="Sent messages, newest first")
    async def sent(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
        """Each with the receiver's `messageId`. `since` and `until` mean `sent_at`.

        The `Link` header leads to the next page.
        """
        return await page(request, query, State.SENT)

    @router.get("/sent-messages", response_model=list[MessageView], summary="/sent under another name")
    async def sent_messages(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
        """The same list, under the name other clients use."""
        return await page(request, query, State.SENT)

    @router.get("/messages", response_model=list[MessageView], summary="Messages of one status")
    async def messages(request: Request, query: Annotated[MessagesQuery, Query()]) -> Response:
        """`pending` and `sending` soonest due first; the others newest first, by when they became so.

        `since` and `until` mean the time of that order: `deliver_at`, `sent_at`, or when it became failed, uncertain
        or cancelled. The `Link` header leads to the next page.
        """
        return await page(request, query, query.status)

    return router


def _kept_page(text: str) -> tuple[bytes, Cursor | None] | None:
    """A page as it was kept: its rows, and the cursor of the next. None for anything else left under its key."""
    link, _, body = text.partition("\n")
    if len(link) > MAX_CURSOR:
        return None
    try:
        following = Cursor.parse(link) if link else None
        rows = orjson.loads(body)
    except (InvalidRequestError, orjson.JSONDecodeError):
        return None
    whole = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    return (body.encode(), following) if whole else None


def _answer(body: bytes, following: Cursor | None, request: Request) -> Response:
    response = Response(body, media_type="application/json")
    if following is not None:
        url = request.url.remove_query_params("offset").include_query_params(cursor=str(following))
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return response
