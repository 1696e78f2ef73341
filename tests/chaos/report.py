"""The table of a chaos run: by kind of fault, what was accepted and delivered, lost and repeated, and the recovery."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from statistics import median

from rich.box import HEAVY_HEAD, MARKDOWN
from rich.table import Table
from tests.chaos.faults import FAULTS
from tests.chaos.run import Accounts, Round
from tests.chaos.verdict import REFUSED

COLUMNS = (
    "fault",
    "rounds",
    "accepted",
    "delivered",
    "held",
    "lost",
    "repeats",
    "unexcused",
    "next, s (most)",
    "all, s (most)",
)


def table(accounts: Accounts, *, markdown: bool) -> Table:
    """One line a kind of fault, and their sum. `docs/chaos.md` says what the columns mean."""
    plan = accounts.plan
    made = Table(
        title=f"on_uncertain = {plan.on_uncertain}, {plan.replicas} replicas, seed {plan.seed}",
        title_justify="left",
        box=MARKDOWN if markdown else HEAVY_HEAD,
    )
    for column in COLUMNS:
        made.add_column(column, justify="left" if column == "fault" else "right", no_wrap=True)
    for fault in FAULTS:
        if numbers := {each.number for each in accounts.rounds if each.fault == fault}:
            made.add_row(*_line(accounts, fault, numbers))
    made.add_row(*_line(accounts, None, {each.number for each in accounts.rounds}), style="bold")
    return made


def _line(accounts: Accounts, fault: str | None, numbers: set[int]) -> list[str]:
    ids = {message_id for message_id, number in accounts.accepted.items() if number in numbers}
    delivered = accounts.delivered_at
    states = Counter(accounts.states.get(message_id) for message_id in ids)
    excused = [r for r in accounts.repeats if r.excuse and fault in (None, r.excuse)]
    unexcused = [r for r in accounts.illegitimate if accounts.accepted.get(r.webhook_id, 0) in numbers]
    return [
        fault or "all",
        f"{len(numbers):,}",
        f"{len(ids):,}",
        f"{len(ids & delivered.keys()):,}",
        f"{states['uncertain']:,}",
        f"{len(ids & accounts.lost.keys()):,}",
        f"{len(excused):,}",
        f"{len(unexcused):,}",
        _seconds(next_delivered(accounts, numbers)),
        _seconds(all_delivered(accounts, numbers)),
    ]


def next_delivered(accounts: Accounts, numbers: set[int]) -> list[float]:
    """For each of these rounds, the seconds from the fault's end to the next message delivered."""
    answers = sorted(
        arrival.answered_at
        for arrival in accounts.arrivals
        if arrival.answered_at and arrival.answer.status != REFUSED
    )
    overs = [each.struck.over for each in accounts.rounds if each.number in numbers]
    return [answers[bisect_right(answers, over)] - over for over in overs]


def all_delivered(accounts: Accounts, numbers: set[int]) -> list[float]:
    """For each of these rounds, the seconds from the fault's end until all messages put in by then have arrived.

    The faults of later rounds may lengthen it. What is held is not waited for.
    """
    delivered = accounts.delivered_at
    last: dict[int, float] = {}
    for message_id, number in accounts.accepted.items():
        if message_id in delivered:
            last[number] = max(last.get(number, 0.0), delivered[message_id])
    return [
        max(0.0, last[each.number] - each.struck.over)
        for each in accounts.rounds
        if each.number in numbers and each.number in last
    ]


def _seconds(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({max(values):.2f})" if values else ""


def round_line(each: Round) -> str:
    """One round for people."""
    return f"round {each.number}: {each.fault} {each.struck.detail}, over at {each.struck.over:.3f}"


def problems(accounts: Accounts) -> list[str]:
    """A line for each message that was lost, and for each repeat that nothing excuses, with all its arrivals."""
    found = [f"lost: message {message_id}: {why}" for message_id, why in accounts.lost.items()]
    for repeat in accounts.illegitimate:
        found.append(f"repeated without excuse: message {repeat.webhook_id}")
        found += [
            f"    {a.at:.3f} from {a.path}, answered {a.answer.status} at {a.answered_at or 0:.3f}"
            for a in accounts.arrivals
            if a.webhook_id == repeat.webhook_id
        ]
    if found:
        found += [
            f"{round_line(each)}, {each.struck.disturbance or 'excuses nothing'}" for each in accounts.rounds
        ]
    return found
