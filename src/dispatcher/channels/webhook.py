"""The webhook channel: one POST a message, one deadline an attempt, one pool of connections a target."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

import orjson
from httptools import HttpParserError
from pydantic_core import Url

from dispatcher import __version__
from dispatcher.channels.contract import Envelope, Outcome, Rejected, Retry
from dispatcher.channels.http_pool import HttpPool
from dispatcher.channels.webhook_answer import error_text, outcome_of
from dispatcher.kernel.address import origin_ascii, parsed_url
from dispatcher.kernel.clock import unix_seconds
from dispatcher.live_config.model import HEADER_NAME

_MAX_CORRELATION_ID = 256
_PORTS = {"http": 80, "https": 443}
_BAD_AUTH = "{0}webhook_auth_header and {0}webhook_auth_key must be printable ASCII, the header one word"
_OURS = frozenset({"connection", "content-length", "transfer-encoding", "webhook-id"})
_NOT_FOR_A_KEY = (
    "{}webhook_auth_header must be a header of the receiver's own, not one that the request itself needs"
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the messages go, and the key the receiver asks for."""

    url: str
    auth_header: str = "x-ins-auth-key"
    auth_key: str | None = field(default=None, repr=False)
    prefix: str = ""
    """How the names of the live keys begin that say so: for texts that tell what to set."""


def message_body(envelope: Envelope) -> bytes:
    """`{"to": …, "content": …}`.

    Raises:
        ValueError: It cannot be sent, now or later; the text says why.
    """
    try:
        return orjson.dumps({"to": envelope.recipient, "content": envelope.content})
    except orjson.JSONEncodeError:  # half a surrogate pair; it will not become whole by waiting
        raise ValueError("recipient or content is not valid Unicode text") from None


def object_body(envelope: Envelope) -> bytes:
    """The content, which is a JSON object itself, with the recipient as `to`.

    Raises:
        ValueError: It is none.
    """
    try:
        return orjson.dumps({**orjson.loads(envelope.content), "to": envelope.recipient})
    except (orjson.JSONDecodeError, TypeError):
        raise ValueError("the content of this lane is a JSON object") from None


class WebhookChannel:
    """Delivers by a POST of what `body` makes of an envelope. A new target needs a new channel.

    Keeps up to `concurrency` idle connections; how many attempts run at once is the caller's to bound.
    """

    def __init__(
        self, target: Target, *, concurrency: int, body: Callable[[Envelope], bytes] = message_body
    ) -> None:
        """Never fails for a bad target: such a channel answers every envelope with what is wrong with it.

        `body` raises ValueError for what can never be sent.
        """
        self._unusable = ""
        self._body, self._prefix = body, target.prefix
        self._pool: HttpPool | None = None
        try:
            self._url = _checked(target)
        except ValueError as error:
            self._unusable = str(error)
            return
        host, port = self._url.host or "", self._url.port or _PORTS[self._url.scheme]
        self._pool = HttpPool(host, port, tls=self._url.scheme == "https", idle_limit=concurrency)
        self._head = _head(self._url, target)
        self._shared: tuple[str, int] | None = None
        self._shared_head = b""
        """The head of all requests of one tick and one second, up to what each message has of its own."""

    async def deliver(self, envelope: Envelope, *, seconds: float) -> Outcome:
        """Post once, within `seconds` for connecting, sending and the answer with its body.

        A cancellation ends the exchange and its connection; what the receiver has made of it is unknown.
        """
        pool = self._pool
        if pool is None:
            return Retry(self._unusable, target_failed=True)
        try:
            payload = self._body(envelope)
        except ValueError as error:
            return Rejected(str(error))
        deadline = asyncio.get_running_loop().time() + seconds
        request = self._request(envelope, payload)
        connection = pool.take()
        try:
            if connection is None:
                connection = await pool.open(deadline)
            answer = await connection.ask(request, deadline)
        except (OSError, HttpParserError) as error:
            text = error_text(error, seconds=seconds, connecting=connection is None, prefix=self._prefix)
            sent = connection is not None and connection.sent
            return Retry(text, maybe_delivered=sent, target_failed=True)
        finally:
            if connection is not None:
                pool.give_back(connection)
        return outcome_of(answer, self._url, prefix=self._prefix)

    async def close(self) -> None:
        """Give up the connections."""
        if self._pool is not None:
            await self._pool.close()

    def _request(self, envelope: Envelope, payload: bytes) -> bytes:
        shared = (envelope.correlation_id, unix_seconds())
        if shared != self._shared:
            correlation_id, second = shared
            rest = f"x-correlation-id: {_header_value(correlation_id)}\r\nwebhook-timestamp: {second}\r\n"
            self._shared_head, self._shared = self._head + rest.encode(), shared
        return b"%bwebhook-id: %d\r\ncontent-length: %d\r\n\r\n%b" % (
            self._shared_head,
            envelope.message_id,
            len(payload),
            payload,
        )


def _checked(target: Target) -> Url:
    """The URL to post to. The ValueError says what is wrong in words that repeat neither URL nor key."""
    try:
        url = parsed_url(target.url)
    except ValueError as error:
        raise ValueError(
            f"{target.prefix}webhook_url is not a URL ({error}): set it to one like https://example.com/hook"
        ) from None
    if url.scheme not in _PORTS:
        raise ValueError(f"{target.prefix}webhook_url must begin with http:// or https://")
    key = target.auth_key or ""
    if not (HEADER_NAME.fullmatch(target.auth_header) and key.isascii() and key.isprintable()):
        raise ValueError(_BAD_AUTH.format(target.prefix))
    if target.auth_header.lower() in _OURS:
        raise ValueError(_NOT_FOR_A_KEY.format(target.prefix))
    return url


def _head(url: Url, target: Target) -> bytes:
    """The beginning of every request."""
    headers = {
        "host": origin_ascii(url).partition("://")[2],
        "user-agent": f"dispatcher/{__version__}",
        "accept": "*/*",
        "content-type": "application/json",
    }
    if url.username or url.password:
        pair = unquote_to_bytes(url.username or "") + b":" + unquote_to_bytes(url.password or "")
        headers["authorization"] = f"Basic {b64encode(pair).decode()}"
    if target.auth_key is not None:
        headers[target.auth_header.lower()] = target.auth_key
    path = (url.path or "/") + (f"?{url.query}" if url.query is not None else "")
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), ""]
    return "\r\n".join(lines).encode("ascii")


def _header_value(text: str) -> str:
    if len(text) <= _MAX_CORRELATION_ID and text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:_MAX_CORRELATION_ID])
