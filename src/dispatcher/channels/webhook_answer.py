"""What a webhook's answer, or the lack of one, means: status, body and transport errors become an outcome."""

import math
from dataclasses import dataclass
from datetime import datetime
from http.client import responses

import orjson
from pyreqwest.exceptions import BuilderError, PyreqwestError
from pyreqwest.http import Url

from dispatcher.channels.contract import Delivered, Outcome, Rejected, Retry
from dispatcher.channels.retry_after import retry_after_seconds

EXCERPT_CHARACTERS = 1_024
RECEIPT_ID_CHARACTERS = 256
SUCCESS = range(200, 300)
REDIRECTION = range(300, 400)
CLIENT_ERROR = range(400, 500)
SERVER_ERROR = range(500, 600)

_REFUSED_FOR_NOW = frozenset({408, 425, 429})
_CHECK = {
    401: "check webhook_auth_key",
    403: "check webhook_auth_key",
    404: "check webhook_url",
    405: "check webhook_url",
    410: "it says that it is gone for good; set webhook_url to another address",
}
_EXACT_FLOATS = 2**53

# Beside the C0 and C1 controls: line separators and the marks that reorder text, which mislead a reader.
_HARMFUL = dict.fromkeys(
    {*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)}
    - {ord("\t"), ord("\n")},
    "\N{REPLACEMENT CHARACTER}",
)

# Beginnings of the client's causes, from the most telling on, and what a person is told.
_CAUSES = (
    ("Connection refused", "connection refused"),
    ("connection closed before message completed", "closed without an answer"),
    ("Connection reset", "connection reset"),
    ("Broken pipe", "connection reset"),
    ("Network is unreachable", "network unreachable"),
    ("No route to host", "no route to host"),
    ("message head is too large", "the answer's headers are too large"),
)


@dataclass(slots=True)
class Answer:
    """What came back for a request."""

    status: int
    body: bytes
    """Its beginning, perhaps: all that a body cut short can cost is the `messageId`."""
    at: datetime
    location: str | None = None
    retry_after: str | None = None


def outcome_of(answer: Answer, url: Url) -> Outcome:
    """What the answer to a request to `url` means."""
    status, excerpt = answer.status, excerpt_of(answer.body)
    if status in SUCCESS:
        return Delivered(at=answer.at, status=status, receipt_id=receipt_id_of(answer.body), excerpt=excerpt)
    wish = retry_after_seconds(answer.retry_after, answer.at)
    if status in REDIRECTION:
        error = _redirect_text(status, answer.location, url)
        return Retry(error, status=status, excerpt=excerpt, retry_after=wish)
    error = f"the webhook answered {status} {responses.get(status, '')}".rstrip()
    if status in _CHECK:
        error = f"{error}: {_CHECK[status]}"
    if status in CLIENT_ERROR and status not in _REFUSED_FOR_NOW:
        return Rejected(error, status=status, excerpt=excerpt)
    broken = status in SERVER_ERROR
    return Retry(error, status=status, excerpt=excerpt, retry_after=wish, target_failed=broken)


def maybe_delivered(error: PyreqwestError) -> bool:
    """Whether the request may have reached the receiver: always, unless no connection was made for it."""
    return not isinstance(error, BuilderError) and "client error (Connect)" not in _causes(error)


def _causes(error: PyreqwestError) -> list[str]:
    return [cause["message"] for cause in getattr(error, "details", {}).get("causes") or ()]


def error_text(error: PyreqwestError, *, https: bool) -> str:
    """A short, stable text for a request that got no answer. Never the URL: it may carry secrets."""
    causes = _causes(error)
    if "dns error" in causes:
        return "the webhook's host name cannot be resolved: check webhook_url"
    last = causes[-1] if causes else error.message
    connecting = "client error (Connect)" in causes
    if https and connecting and "tcp connect error" not in causes:
        return f"TLS: {harmless(last[:200])}"
    for beginning, text in _CAUSES:
        if last.startswith(beginning):
            return text
    # The first cause quotes the URL, so a lone cause is not repeated.
    if len(causes) > 1 and "://" not in last:
        return f"{error.message}: {harmless(last[:200])}"
    return error.message


def excerpt_of(body: bytes) -> str | None:
    """The body's first 1,024 characters as text that is safe to print and to store; None when empty."""
    # No character of UTF-8 takes more than four bytes.
    text = body[: EXCERPT_CHARACTERS * 4].decode(errors="replace")[:EXCERPT_CHARACTERS]
    return harmless(text) or None


def receipt_id_of(body: bytes) -> str | None:
    """The `messageId` of a JSON object, if it is a non-empty string or a number that was read exactly."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    found = answer.get("messageId") if isinstance(answer, dict) else None
    if isinstance(found, str):
        return harmless(found[:RECEIPT_ID_CHARACTERS]) or None
    if isinstance(found, bool):
        return None
    # A float beyond 2**53 stands for an integer that lost digits: no evidence at all beats a wrong one.
    if isinstance(found, int) or (isinstance(found, float) and math.fabs(found) < _EXACT_FLOATS):
        return str(found)
    return None


def harmless(text: str) -> str:
    """The text with every character that could command a terminal, or break a database's text, replaced."""
    return text if text.isprintable() else text.translate(_HARMFUL)


def _redirect_text(status: int, location: str | None, url: Url) -> str:
    origin = "null"
    if location is not None:
        try:
            origin = url.join(location).origin_ascii
        except ValueError:
            origin = "null"
    if origin == "null":  # also what a URL without a host answers
        return f"the webhook answered {status} without an address to go to: check webhook_url"
    return f"the webhook redirects to {origin[:200]} ({status}): set webhook_url to the final address"
