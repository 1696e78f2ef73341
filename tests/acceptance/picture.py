"""What a client has, made from the frames that it got: as the documentation says that one is written."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Seen:
    """One conversation, as a client has it."""

    seq: int = 0
    change: int = 0
    begun: bool = False
    """Whether it is known where it begins."""
    messages: dict[int, dict[str, Any]] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    """The seqs, as they came."""
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)
    skipped: int = 0
    """How often it was told to read by pages."""

    @property
    def contents(self) -> list[str]:
        return [self.messages[seq]["content"] for seq in sorted(self.messages)]


class Picture:
    """One client's."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.seen: dict[int, Seen] = {}
        self.hello: dict[str, Any] = {}
        self.connections = 0
        self.complaints: list[str] = []
        """What should not have come, or not then."""

    @property
    def positions(self) -> dict[str, tuple[int, int]]:
        """For the next hello."""
        return {str(id_): (seen.seq, seen.change) for id_, seen in self.seen.items() if seen.begun}

    def got(self, frame: dict[str, Any]) -> bool:
        """Whether the frame was one of those that say what there is."""
        handle = {
            "hello": self._on_hello,
            "message": self._on_message,
            "changed": self._on_changed,
            "receipts": self._on_receipts,
            "behind": self._on_behind,
        }.get(frame["type"])
        if handle is not None:
            handle(frame)
        elif frame["type"] == "conversation" and "conversation" in frame:
            self.seen.setdefault(frame["conversation_id"], Seen()).begun = True
            self._begin(frame["conversation"])
        return handle is not None

    def _on_hello(self, frame: dict[str, Any]) -> None:
        self.hello = frame
        self.connections += 1
        for one in frame["conversations"]:
            self._begin(one)

    def _on_message(self, frame: dict[str, Any]) -> None:
        message = frame["message"]
        seen = self.seen.setdefault(message["conversation_id"], Seen())
        if seen.begun and message["seq"] != seen.seq + 1:
            self.complaints.append(f"{message['seq']} behind {seen.seq}")
        seen.begun, seen.seq = True, message["seq"]
        seen.order.append(message["seq"])
        seen.messages[message["seq"]] = message
        if "marks" in frame:
            _mark(seen, message["sender_id"], *frame["marks"])

    def _on_changed(self, frame: dict[str, Any]) -> None:
        message = frame["message"]
        seen = self.seen.setdefault(message["conversation_id"], Seen())
        seen.change = max(seen.change, frame["change"])
        if message["seq"] in seen.messages:
            seen.messages[message["seq"]] = message
        elif message["seq"] > seen.seq:
            self.complaints.append(f"change of {message['seq']} before it")

    def _on_receipts(self, frame: dict[str, Any]) -> None:
        seen = self.seen.setdefault(frame["conversation_id"], Seen())
        for one in frame["marks"]:
            _mark(seen, one["user_id"], one["delivered_seq"], one["read_seq"])

    def _on_behind(self, frame: dict[str, Any]) -> None:
        seen = self.seen.setdefault(frame["conversation_id"], Seen())
        seen.seq, seen.change = frame["seq"], frame["change"]
        seen.skipped += 1

    def _begin(self, one: dict[str, Any]) -> None:
        seen = self.seen.setdefault(one["id"], Seen())
        if not seen.begun:
            seen.begun, seen.seq, seen.change = True, one["last_seq"], one["last_change"]
        seen.seq = max(seen.seq, one["joined_seq"])
        _mark(seen, self.user_id, one["delivered_seq"], one["read_seq"])
        if one["peer_id"] is not None:
            _mark(seen, one["peer_id"], one["peer_delivered_seq"], one["peer_read_seq"])


def _mark(seen: Seen, user_id: str, delivered: int, read: int) -> None:
    old = seen.marks.get(user_id, (0, 0))
    seen.marks[user_id] = max(old[0], delivered), max(old[1], read)
