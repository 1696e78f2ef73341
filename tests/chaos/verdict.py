"""What the receiver and the database say about a run: what was lost, and which repeats no fault excuses. Pure.

Every arrival at the receiver is recorded with its time, the replica it came from, the answer that the dice chose for it
and the time when that answer had gone out. An arrival is **had** unless it was refused (503): from then on the
receiver has the message, whatever becomes of the answer.

A **repeat** is an arrival of an id that had been had before. It is legitimate only if *each* earlier arrival that was
had is excused, by one of two things:

- the receiver itself gave it no answer within `webhook_timeout`;
- its send was in flight at a disturbance of the very replica that it came from. In flight is from the arrival to
  `SETTLE_SECONDS` after its answer had gone out, which in calm is ample for a settlement; a disturbance is

  | fault | of | from | to |
  |---|---|---|---|
  | SIGKILL | the replica | the signal | `WIRE_SECONDS` after its end: its last bytes may still be on their way |
  | SIGSTOP | the replica | SIGSTOP | `WIRE_SECONDS` after SIGCONT: an attempt that had begun may not have been on the wire yet |
  | webhook path dead | the replica | the cut | `WIRE_SECONDS` after the cut is healed, when what was held has arrived |
  | Postgres away | every replica | the stop | `RETRY_SECONDS` after it answers again: a settlement is retried by then |
  | Postgres path dead | the replica | the cut | as above, if what was held arrives late; else `GIVE_UP_SECONDS`, after which a statement on a dead connection is given up |

Faults that interrupt no send (connections terminated, Redis or etcd gone or emptied) excuse nothing. Under
`on_uncertain: hold` nothing excuses a repeat.

A message is **lost** if its insert was committed and it ends neither sent nor failed nor uncertain (nor cancelled), or
if it is `sent` although the receiver never had it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.acceptance.receiver import Arrival

from dispatcher.kernel.db import COMMAND_SECONDS

SETTLE_SECONDS = 1.0
WIRE_SECONDS = 0.25
RETRY_SECONDS = 2.5
GIVE_UP_SECONDS = COMMAND_SECONDS + RETRY_SECONDS
REFUSED = 503
ENDED = frozenset({"sent", "failed", "uncertain", "cancelled"})


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A fault that interrupts sends: those of these replicas, in this time."""

    fault: str
    nodes: frozenset[str]
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Repeat:
    """An arrival of a message that the receiver already had."""

    webhook_id: int
    at: float
    excuse: str | None
    """The fault that makes it legitimate; None when nothing does."""


@dataclass(frozen=True, slots=True)
class Excuses:
    """What may interrupt a send."""

    timeout: float
    stalling: str
    """The name of the fault that has the receiver answer too late."""
    disturbances: Sequence[Disturbance]
    """In the order in which they began."""
    hold: bool

    def of(self, arrival: Arrival) -> str | None:
        """The fault that this send, had by the receiver, was in flight at."""
        if self.hold:
            return None
        # no answer went out to a sender that was gone by then: when it would have counts
        answered = arrival.answered_at or arrival.at + arrival.answer.delay
        if answered - arrival.at > self.timeout:
            return self.stalling
        settled = answered + SETTLE_SECONDS
        source = arrival.path.rpartition("/")[2]
        for disturbance in reversed(
            self.disturbances
        ):  # of several, the last is the likeliest to be the cause
            if source in disturbance.nodes and arrival.at <= disturbance.end and settled >= disturbance.begin:
                return disturbance.fault
        return None


def repeats(arrivals: Iterable[Arrival], excuses: Excuses) -> list[Repeat]:
    """Every repeat, in the order of their arrival."""
    had: dict[int, list[Arrival]] = defaultdict(list)
    found: list[Repeat] = []
    for arrival in sorted(arrivals, key=lambda each: each.at):
        earlier = had[arrival.webhook_id]
        if earlier:
            reasons = [excuses.of(each) for each in earlier]
            found.append(Repeat(arrival.webhook_id, arrival.at, None if None in reasons else reasons[-1]))
        if arrival.answer.status != REFUSED:
            earlier.append(arrival)
    return found


def lost(accepted: Collection[int], states: Mapping[int, str], had: Collection[int]) -> dict[int, str]:
    """The accepted messages that were lost, each with what is wrong about it."""
    found: dict[int, str] = {}
    for message_id in accepted:
        state = states.get(message_id, "not in the table")
        if state not in ENDED:
            found[message_id] = state
        elif state == "sent" and message_id not in had:
            found[message_id] = "sent, but the receiver never had it"
    return found
