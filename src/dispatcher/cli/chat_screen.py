"""The room on a whole terminal: messages with ticks that change, who is there and who is writing, a line to write in."""

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import date

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.data_structures import Point
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import HSplit, Layout, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.styles import Style
from prompt_toolkit.widgets import TextArea

from dispatcher.cli.chat_room import HELP, Room
from dispatcher.cli.chat_talk import READ, TICKS
from dispatcher.client import Message
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.harmless import harmless

MAX_NOTES = 200
PAGE = 10
"""Lines that PgUp and PgDn move by."""
STYLE = Style.from_dict(
    {
        "time": "ansibrightblack",
        "me": "ansigreen",
        "other": "ansicyan bold",
        "tick": "ansibrightblack",
        "read": "ansiblue",
        "note": "ansibrightblack italic",
        "problem": "ansired",
        "status": "reverse",
    }
)
_INDENT = " " * 8


class Screen:
    """Draws all of it anew whenever something is different; the library sends the terminal what that changes."""

    reads = True

    def __init__(self) -> None:
        self._notes: deque[tuple[int, str]] = deque(maxlen=MAX_NOTES)
        self._back = 0
        """Lines that the user has gone up from the newest one."""
        self._lines = 1
        self._room: Room | None = None
        self._input = TextArea(
            height=1,
            prompt="> ",
            multiline=False,
            wrap_lines=False,
            accept_handler=self._accept,
            history=None,
        )
        self._input.buffer.on_text_insert += self._typed
        self._app: Application[None] = Application(
            layout=Layout(
                HSplit(
                    [
                        Window(
                            FormattedTextControl(self._shown, get_cursor_position=self._place),
                            wrap_lines=True,
                            always_hide_cursor=True,
                        ),
                        Window(FormattedTextControl(self._status), height=1, style="class:status"),
                        self._input,
                    ]
                ),
                focused_element=self._input,
            ),
            key_bindings=self._keys(),
            style=STYLE,
            full_screen=True,
            refresh_interval=1.0,
        )

    async def run(self, room: Room) -> None:
        """Until the user leaves."""
        self._room = room
        self._notes.append((room.talk.last_seq, HELP))
        await room.attend(self._app.run_async())

    def message(self, message: Message) -> None:  # noqa: ARG002 - all are drawn
        """Shown as all are."""
        self.redraw()

    def changed(self, message: Message) -> None:  # noqa: ARG002 - as above
        """Shown as all are."""
        self.redraw()

    def older(self, messages: Sequence[Message]) -> None:  # noqa: ARG002 - as above
        """Go up to them."""
        self._back = self._lines
        self.redraw()

    def redraw(self) -> None:
        """Soon."""
        self._app.invalidate()

    def note(self, text: str) -> None:
        """Between the messages."""
        assert self._room is not None
        self._notes.append((self._room.talk.last_seq, text))
        self.redraw()

    def _accept(self, buffer: Buffer) -> bool:
        assert self._room is not None
        line, self._back = buffer.text, 0
        self._app.create_background_task(self._room.wrote(line))
        return False

    def _typed(self, _: Buffer) -> None:
        if self._room is not None and not self._input.text.startswith("/"):
            self._room.typed()

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-c")
        @keys.add("c-d")
        def _(_: KeyPressEvent) -> None:
            assert self._room is not None
            self._room.left.set()

        @keys.add("pageup")
        def _(_: KeyPressEvent) -> None:
            assert self._room is not None
            if self._back + PAGE >= self._lines:
                self._app.create_background_task(self._room.wrote("/history"))
            self._back = min(self._back + PAGE, self._lines - 1)

        @keys.add("pagedown")
        def _(_: KeyPressEvent) -> None:
            self._back = max(0, self._back - PAGE)

        return keys

    def _place(self) -> Point:
        return Point(0, max(0, self._lines - 1 - self._back))

    def _shown(self) -> StyleAndTextTuples:
        shown: StyleAndTextTuples = []
        for line in self._all():
            shown += [*line, ("", "\n")]
        if shown:
            shown.pop()
        self._lines = 1 + sum(text.count("\n") for _, text, *_ in shown)
        return shown

    def _all(self) -> Iterator[StyleAndTextTuples]:
        assert self._room is not None
        talk, notes = self._room.talk, list(self._notes)
        day: date | None = None
        oldest = talk.messages[0].seq if talk.messages else 1
        yield from (self._note(text) for seq, text in notes if seq < oldest)
        for message in talk.messages:
            if (its := message.timestamp.astimezone().date()) != day:
                day = its
                yield self._note(f"{day:%A, %d %B %Y}")
            yield self._message(message)
            yield from (self._note(text) for seq, text in notes if seq == message.seq)
        for one in talk.unsent.values():
            style, mark = ("class:problem", f"✗ {one.problem}") if one.problem else ("class:tick", "…")
            yield [
                ("class:time", "  now  "),
                ("class:me", talk.me),
                ("", f" {_text(one.content)}  "),
                (style, harmless(mark)),
            ]

    def _message(self, message: Message) -> StyleAndTextTuples:
        assert self._room is not None
        talk = self._room.talk
        mine = message.sender_id == talk.me
        line: StyleAndTextTuples = [
            ("class:time", f" {message.timestamp.astimezone():%H:%M}  "),
            ("class:me" if mine else "class:other", message.sender_id),
            ("", f" {_text(message.content)}") if not message.deleted_at else ("class:note", " (deleted)"),
        ]
        if message.edited_at and not message.deleted_at:
            line.append(("class:note", " (edited)"))
        if mine:
            status = talk.status(message)
            line.append(("class:read" if status == READ else "class:tick", f"  {TICKS[status]}"))
        return line

    def _note(self, text: str) -> StyleAndTextTuples:
        return [("class:note", f" · {harmless(text)}")]

    def _status(self) -> str:
        assert self._room is not None
        talk = self._room.talk
        if not self._room.hearing.connected:
            return " connecting again …"
        now = elapsed()
        if writing := talk.typing(now):
            return f" {', '.join(writing)} writing …"
        if isinstance(talk.to, str):
            return f" {talk.to} is {'here' if talk.online.get(talk.to) else 'away'}"
        here = [who for who in talk.marks if talk.online.get(who)]
        return f" {len(talk.marks)} others" + (f"; here: {', '.join(here)}" if here else "")


def _text(content: str) -> str:
    """All lines of it, those behind the first set in so that none can pass for a message."""
    return f"\n{_INDENT}".join(harmless(line) for line in content.split("\n"))
