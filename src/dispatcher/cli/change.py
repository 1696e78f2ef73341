"""`dispatcher cancel`, `move`, `retry` and `resolve`: one message by its id, or all that match."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

from dispatcher.cli.api import Url, call_json
from dispatcher.cli.console import out
from dispatcher.cli.moments import At, In, moment
from dispatcher.kernel.errors import InvalidRequestError

Id = Annotated[int | None, typer.Argument(min=0, help="The message's id; or say which with the options.")]
Recipient = Annotated[str | None, typer.Option("--recipient", help="All to this recipient.")]
Since = Annotated[str | None, typer.Option("--since", help="Not before, e.g. 2026-12-24T18:00:00Z.")]
Until = Annotated[str | None, typer.Option("--until", help="Before this time.")]
Lane = Annotated[str | None, typer.Option("--lane", help="All of this lane, e.g. webhook.")]


class Ended(StrEnum):
    """What can be retried."""

    FAILED = "failed"
    CANCELLED = "cancelled"
    UNCERTAIN = "uncertain"


class Verdict(StrEnum):
    """What became of an uncertain message."""

    SENT = "sent"
    RESEND = "resend"


def cancel(
    message: Id = None,
    *,
    recipient: Recipient = None,
    since: Since = None,
    until: Until = None,
    lane: Lane = None,
    url: Url = None,
) -> None:
    """Cancel a message that is pending, or all pending ones that match.

    --since and --until mean the time that a message is due at. What is being sent already is not cancelled.

    Examples:
      dispatcher cancel 42
      dispatcher cancel --recipient +905551111111
      dispatcher cancel --since 2026-12-24T00:00:00Z --until 2026-12-25T00:00:00Z
    """
    _change("DELETE", "", message, _chosen(recipient, since, until, lane), url=url)


def move(
    message: Id = None,
    *,
    at: At = None,
    in_: In = None,
    recipient: Recipient = None,
    since: Since = None,
    until: Until = None,
    lane: Lane = None,
    url: Url = None,
) -> None:
    """Give a message that is pending another time, or all pending ones that match.

    --since and --until mean the time that they are due at now. What is being sent already is not moved.

    Examples:
      dispatcher move 42 --at 2030-12-24T18:00:00+03:00
      dispatcher move 42 --in 90s
      dispatcher move --lane console --since 2030-12-24T00:00:00Z --in 5m
    """
    chosen, body = _chosen(recipient, since, until, lane), {"deliver_at": moment(at, in_)}
    if message is None or chosen:
        _change("POST", "/move", message, chosen, url=url, body=body)
        return
    found = call_json("PATCH", f"/messages/{message}", url=url, body=body)
    out.print(f"{found['id']} is due at {found['deliver_at']}", markup=False)


def retry(
    message: Id = None,
    *,
    status: Annotated[Ended | None, typer.Option("--status", help="All of this status (failed).")] = None,
    recipient: Recipient = None,
    since: Since = None,
    until: Until = None,
    lane: Lane = None,
    url: Url = None,
) -> None:
    """Send a failed, cancelled or uncertain message once more, or all that match.

    It is due now and has all of max_attempts before it. --since and --until mean when it became failed, cancelled or
    uncertain.

    Examples:
      dispatcher retry 42
      dispatcher retry --status failed
      dispatcher retry --status failed --since 2026-12-24T18:00:00Z
    """
    chosen = _chosen(recipient, since, until, lane) | ({"status": status.value} if status else {})
    _change("POST", "/retry", message, chosen, url=url)


def resolve(
    message: Id = None,
    *,
    verdict: Annotated[
        Verdict, typer.Option("--as", help="sent: the receiver has it. resend: send it again.")
    ],
    recipient: Recipient = None,
    since: Since = None,
    until: Until = None,
    lane: Lane = None,
    url: Url = None,
) -> None:
    """Say what became of an uncertain message, or of all that match.

    Ask the receiver first whether it knows the webhook-id, which is the message's id.

    Examples:
      dispatcher resolve 42 --as sent
      dispatcher resolve --as resend --since 2026-12-24T18:00:00Z
    """
    chosen = _chosen(recipient, since, until, lane)
    _change("POST", "/resolve", message, chosen, url=url, body={"as": verdict.value})


def _chosen(recipient: str | None, since: str | None, until: str | None, lane: str | None) -> dict[str, str]:
    given = {"recipient": recipient, "since": since, "until": until, "lane": lane}
    return {name: value for name, value in given.items() if value is not None}


def _change(
    method: str,
    verb: str,
    message: int | None,
    chosen: Mapping[str, str],
    *,
    url: str | None,
    body: Mapping[str, str] | None = None,
) -> None:
    if (message is None) == (not chosen):
        raise InvalidRequestError(
            "say which messages: one by its id, or all that match by --recipient, --since, --until or --lane"
        )
    if message is not None:
        found = call_json(method, f"/messages/{message}{verb}", url=url, body=body)
        out.print(f"{found['id']} is {found['status']}", markup=False)
        return
    changed, more = 0, True
    while more:
        answer = call_json(method, f"/messages{verb}", url=url, query=chosen, body=body)
        changed, more = changed + answer["changed"], answer["more"]
    out.print(f"{changed} changed", markup=False)
