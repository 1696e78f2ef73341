"""`dispatcher chat`."""

import asyncio
import os
import sys
from typing import Annotated

import typer

from dispatcher.cli.api import Url
from dispatcher.cli.chat_access import Access
from dispatcher.cli.chat_lines import Lines
from dispatcher.cli.chat_room import Room
from dispatcher.cli.chat_screen import Screen
from dispatcher.client import ChatClient, ChatError
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.settings import Settings, read_settings


def chat(
    me: Annotated[str, typer.Argument(help="Who you are, e.g. alice.", show_default=False)],
    *,
    to: Annotated[
        str | None, typer.Option("--to", help="The user you talk to, e.g. bob.", show_default=False)
    ] = None,
    group: Annotated[
        int | None, typer.Option("--group", min=1, help="Or the group, by its id.", show_default=False)
    ] = None,
    shown: Annotated[
        int, typer.Option("--history", min=0, max=100, help="How many of the last messages to show.")
    ] = 20,
    secretly: Annotated[
        bool, typer.Option("--unread", help="Do not say that you have read what is shown; /read does.")
    ] = False,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="DISPATCHER_TOKEN",
            show_default=False,
            help="Your token, where there is no APP_TOKEN_SECRET or APP_API_KEY to be let in with.",
        ),
    ] = None,
    url: Url = None,
) -> None:
    """Talk to somebody, or in a group: what was said, then what is being said, until /quit.

    Your messages have ticks: ✓ the service has it, ✓✓ the others have received it, and read. Users who are not there
    yet are added. Where input or output is no terminal every line is a message, and nothing is marked as read
    unless a line says /read; at the end of the input it ends.

    Examples, one terminal each:
      dispatcher chat alice --to bob
      dispatcher chat bob --to alice
      echo "Lunch?" | dispatcher chat alice --group 7
    """
    if (to is None) == (group is None):
        raise InvalidRequestError("say with whom: --to bob, or --group 7")
    if to == me:
        raise InvalidRequestError("--to: that is you; name somebody else")
    settings = read_settings(os.environ)
    asyncio.run(_chat(settings, me, to or group or 0, shown=shown, secretly=secretly, token=token, url=url))


async def _chat(
    settings: Settings,
    me: str,
    talk: str | int,
    *,
    shown: int,
    secretly: bool,
    token: str | None,
    url: str | None,
) -> None:
    access = Access.of(settings, url=url, token=token)
    await access.add(me)
    if isinstance(talk, str) and access.for_anybody:
        await access.add(talk)
    room: Room | None = None
    try:
        async with ChatClient(**access.proof_of(me)) as client:
            face = for_this_terminal()
            room = await Room.enter(client, me, talk, face, shown=shown, reads=face.reads and not secretly)
            await face.run(room)
    except ChatError as error:
        raise access.explained(error, unsent=room.unsent if room is not None else "") from None


def for_this_terminal() -> Lines | Screen:
    """The whole terminal, or lines where there is none."""
    terminals = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    if terminals and os.environ.get("TERM", "dumb") != "dumb":
        return Screen()
    return Lines()
