"""What a webhook's answer, or the lack of one, means: status, body and transport errors become an outcome."""

import errno
import math
import os
import re
import socket
import ssl
from http.client import responses
from urllib.parse import urljoin

import orjson
from httptools import HttpParserError
from pydantic_core import Url

from dispatcher.channels.contract import Delivered, Outcome, Rejected, Retry
from dispatcher.channels.http1 import Answer, ClosedEarlyError, HeadersTooLargeError
from dispatcher.channels.retry_after import retry_after_seconds
from dispatcher.kernel.address import origin_ascii, parsed_url

EXCERPT_CHARACTERS = 1_024
RECEIPT_ID_CHARACTERS = 256
SUCCESS = range(200, 300)
REDIRECTION = range(300, 400)
CLIENT_ERROR = range(400, 500)
SERVER_ERROR = range(500, 600)

_REFUSED_FOR_NOW = frozenset({408, 425, 429})
_CHECK = {
    401: "check {}webhook_auth_key",
    403: "check {}webhook_auth_key",
    404: "check {}webhook_url",
    405: "check {}webhook_url",
    410: "it says that it is gone for good; set {}webhook_url to another address",
}
_EXACT_FLOATS = 2**53

# Beside the C0 and C1 controls: line separators and the marks that reorder text, which mislead a reader.
_HARMFUL = dict.fromkeys(
    {*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)}
    - {ord("\t"), ord("\n")},
    "\N{REPLACEMENT CHARACTER}",
)

_OF_THE_NETWORK = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ECONNABORTED: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ENETUNREACH: "network unreachable",
    errno.EHOSTUNREACH: "no route to host",
    errno.ETIMEDOUT: "connection timed out",
}
# Where a name has several addresses and none of them answers, asyncio joins the errors into one text.
_NUMBER = re.compile(r"\[Errno (\d+)\]")
_HOW_TLS_NAMES_IT = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")


def outcome_of(answer: Answer, url: Url, *, prefix: str = "") -> Outcome:
    """What the answer to a request to `url` means; `prefix` is how the names of the channel's live keys begin."""
    status, excerpt = answer.status, excerpt_of(answer.body)
    if status in SUCCESS:
        return Delivered(answer.at, status, receipt_id_of(answer.body), excerpt)
    wish = retry_after_seconds(answer.header(b"retry-after"), answer.at)
    if status in REDIRECTION:
        error = _redirect_text(status, answer.header(b"location"), url, prefix)
        return Retry(error, status=status, excerpt=excerpt, retry_after=wish)
    error = f"the webhook answered {status} {responses.get(status, '')}".rstrip()
    if status in _CHECK:
        error = f"{error}: {_CHECK[status].format(prefix)}"
    if status in CLIENT_ERROR and status not in _REFUSED_FOR_NOW:
        return Rejected(error, status=status, excerpt=excerpt)
    broken = status in SERVER_ERROR
    return Retry(error, status=status, excerpt=excerpt, retry_after=wish, target_failed=broken)


def error_text(
    error: OSError | HttpParserError, *, seconds: float, connecting: bool, prefix: str = ""
) -> str:
    """A short, stable text for a request that got no answer. Never the URL: it may carry secrets."""
    match error:
        case ClosedEarlyError() | HeadersTooLargeError():
            return str(error)
        case HttpParserError():
            return f"the answer is not valid HTTP: {cleaned(str(error)[:200])}"
        case socket.gaierror():
            return f"the webhook's host name cannot be resolved: check {prefix}webhook_url"
        case ssl.SSLCertVerificationError():
            return f"TLS: {cleaned(error.verify_message[:200]).rstrip('.')}"
        case ssl.SSLError():
            return f"TLS: {cleaned(_HOW_TLS_NAMES_IT.sub('', error.strerror or str(error))[:200])}"
        case _:
            return _of_the_network(error, seconds, connecting=connecting)


def _of_the_network(error: OSError, seconds: float, *, connecting: bool) -> str:
    number = error.errno
    if number is None and (found := _NUMBER.search(str(error))):
        number = int(found[1])
    if number is not None:
        return _OF_THE_NETWORK.get(number) or os.strerror(number).lower()
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    # Without a number it is not the system that says so: the other side has hung up.
    return "TLS: closed in the handshake" if connecting else "connection reset"


def excerpt_of(body: bytes) -> str | None:
    """The body's first 1,024 characters as text that is safe to print and to store; None when empty."""
    # No character of UTF-8 takes more than four bytes.
    text = body[: EXCERPT_CHARACTERS * 4].decode(errors="replace")[:EXCERPT_CHARACTERS]
    return cleaned(text) or None


def receipt_id_of(body: bytes) -> str | None:
    """The `messageId` of a JSON object, if it is a non-empty string or a number that was read exactly."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    found = answer.get("messageId") if isinstance(answer, dict) else None
    if isinstance(found, str):
        return cleaned(found[:RECEIPT_ID_CHARACTERS]) or None
    if isinstance(found, bool):
        return None
    # A float beyond 2**53 stands for an integer that lost digits: no evidence at all beats a wrong one.
    if isinstance(found, int) or (isinstance(found, float) and math.fabs(found) < _EXACT_FLOATS):
        return str(found)
    return None


def cleaned(text: str) -> str:
    """The text with every character that could command a terminal, or break a database's text, replaced."""
    return text if text.isprintable() else text.translate(_HARMFUL)


def _redirect_text(status: int, location: str | None, url: Url, prefix: str) -> str:
    try:
        goal = None if location is None else parsed_url(urljoin(str(url), location))
    except ValueError:
        goal = None
    if goal is None or goal.scheme not in ("http", "https"):
        return f"the webhook answered {status} without an address to go to: check {prefix}webhook_url"
    shown = origin_ascii(goal)[:200]
    return f"the webhook redirects to {shown} ({status}): set {prefix}webhook_url to the final address"
