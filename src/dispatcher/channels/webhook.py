"""The webhook channel: one POST a message, one deadline an attempt, one client a target."""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import orjson
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError, RequestTimeoutError
from pyreqwest.http import HeaderMap, Url
from pyreqwest.request import RequestBody, StreamRequest
from pyreqwest.response import Response

from dispatcher import __version__
from dispatcher.channels.contract import Envelope, Outcome, Rejected, Retry
from dispatcher.channels.webhook_answer import SUCCESS, Answer, error_text, maybe_delivered, outcome_of
from dispatcher.kernel.clock import unix_seconds, utc_now

MAX_BODY_BYTES = 64 * 1_024
_MAX_CORRELATION_ID = 256
_LENGTH = re.compile(r"[0-9]{1,18}")
_BAD_AUTH = "webhook_auth_header and webhook_auth_key must be printable ASCII, the header one word"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the messages go, and the key the receiver asks for."""

    url: str
    auth_header: str = "x-ins-auth-key"
    auth_key: str | None = field(default=None, repr=False)


class WebhookChannel:
    """Delivers by `POST {"to": …, "content": …}`. A new target needs a new channel.

    Keeps up to `concurrency` idle connections; how many attempts run at once is the caller's to bound.
    """

    def __init__(self, target: Target, *, concurrency: int) -> None:
        """Never fails for a bad target: such a channel answers every envelope with what is wrong with it."""
        self._client = _client(concurrency)
        self._auth = None if target.auth_key is None else (target.auth_header, target.auth_key)
        self._url, self._unusable = _checked(target)
        self._template: StreamRequest
        self._shared: tuple[float, str, int] | None = None
        """What the template was made of: everything that messages of one second have in common."""

    async def deliver(self, envelope: Envelope, *, seconds: float) -> Outcome:
        """Post once, within `seconds` for connecting, sending and the answer with its body.

        After a cancellation the request itself may go on until `seconds` are over: its end is unknown.
        """
        if self._url is None:
            return Retry(self._unusable, target_failed=True)
        try:
            payload = orjson.dumps({"to": envelope.recipient, "content": envelope.content})
        except orjson.JSONEncodeError:  # half a surrogate pair; it will not become whole by waiting
            return Rejected("recipient or content is not valid Unicode text")
        task = asyncio.current_task()
        cancellations = task.cancelling() if task is not None else 0
        status, failure, on_its_way = 0, "", True
        at = location = retry_after = None
        body = b""
        try:
            async with self._request(self._url, envelope, payload, seconds) as response:
                # Kept before the body is read: what goes wrong after it changes nothing about the answer.
                status, at = response.status, utc_now()
                if status not in SUCCESS:
                    location = _header(response, "location")
                    retry_after = _header(response, "retry-after")
                body = await _read(response, cancellations)
        except RequestTimeoutError:
            failure = f"no answer within {seconds:g} s"
        except PyreqwestError as error:
            failure = error_text(error, https=self._url.scheme == "https")
            on_its_way = maybe_delivered(error)
        _raise_a_lost_cancellation(cancellations)
        if at is None:
            return Retry(failure, maybe_delivered=on_its_way, target_failed=True)
        return outcome_of(Answer(status, body, at, location, retry_after), self._url)

    async def close(self) -> None:
        """Give up the connections."""
        await self._client.close()

    def _request(self, url: Url, envelope: Envelope, payload: bytes, seconds: float) -> StreamRequest:
        second = unix_seconds()
        shared = (seconds, envelope.correlation_id, second)
        if shared != self._shared:
            self._template, self._shared = self._new_template(url, *shared), shared
        # A copy of a request that has all but the message takes a third of the time of building one.
        request = self._template.copy()
        request.headers["webhook-id"] = str(envelope.message_id)
        request.body = RequestBody.from_bytes(payload)
        return request

    def _new_template(self, url: Url, seconds: float, correlation_id: str, second: int) -> StreamRequest:
        builder = (
            self._client.post(url)
            .header("webhook-timestamp", str(second))
            .header("x-correlation-id", _header_value(correlation_id))
            # The client's own deadline: asyncio.timeout costs 15 µs more a request.
            .timeout(timedelta(seconds=max(seconds, 0.001)))
            # No reading ahead: a body that stalls or breaks off must not hide the status before it.
            .streamed_read_buffer_limit(0)
        )
        if self._auth is not None:
            builder = builder.header(*self._auth, is_sensitive=True)
        return builder.build_streamed()


def _client(concurrency: int) -> Client:
    return (
        ClientBuilder()
        .default_headers({"content-type": "application/json"})
        .user_agent(f"dispatcher/{__version__}")
        .http1_lower_case_headers()
        .pool_max_idle_per_host(concurrency)
        .follow_redirects(False)
        .referer(False)
        .no_proxy()
        # Never asked for, never expanded: the bound on the body holds for what we keep in memory.
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .build()
    )


def _checked(target: Target) -> tuple[Url | None, str]:
    """The URL to post to, or None and what is wrong, in words that repeat neither URL nor key."""
    try:
        url = Url(target.url)
    except ValueError as error:
        return None, f"webhook_url is not a URL ({error}): set it to one like https://example.com/hook"
    if url.scheme not in ("http", "https"):
        return None, "webhook_url must begin with http:// or https://"
    key = target.auth_key or ""
    try:
        HeaderMap().insert(target.auth_header, key)
    except ValueError:
        return None, _BAD_AUTH
    if not (key.isascii() and key.isprintable()):
        return None, _BAD_AUTH
    return url, ""


def _header_value(text: str) -> str:
    if len(text) <= _MAX_CORRELATION_ID and text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:_MAX_CORRELATION_ID])


def _header(response: Response, name: str) -> str | None:
    try:
        return response.get_header(name)
    except ValueError:  # bytes that are no text
        return None


async def _read(response: Response, cancellations: int) -> bytes:
    """At most 64 KiB of the body, as far as it comes. Leaving the rest unread closes the connection."""
    length = _header(response, "content-length") or ""
    # Stopping at the announced length saves the read that only says "end": 13 µs a request. Where no body can
    # follow (204), the client passes on whatever a receiver calls its length.
    expected = min(int(length), MAX_BODY_BYTES) if _LENGTH.fullmatch(length) else MAX_BODY_BYTES
    if not expected:
        return b""
    read_chunk = response.body_reader.read_chunk
    body = bytearray()
    with suppress(PyreqwestError):  # what had come before it broke off is what there is
        while len(body) < expected and (chunk := await read_chunk()) is not None:
            body += chunk
            if len(body) < expected:
                _raise_a_lost_cancellation(cancellations)
    return bytes(body[:MAX_BODY_BYTES])


def _raise_a_lost_cancellation(before: int) -> None:
    # A cancellation that meets an answer already there is dropped by the client: it returns the answer.
    task = asyncio.current_task()
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
