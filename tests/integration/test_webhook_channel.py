"""The webhook channel against receivers that misbehave: the outcome of each, its words, and that none holds on."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from email.utils import format_datetime

import pytest
from tests import hostile_receiver as hostile
from tests.hostile_receiver import Behaviour, hostile_receiver

from dispatcher import __version__
from dispatcher.channels.contract import Delivered, Envelope, Outcome, Rejected, Retry
from dispatcher.channels.http1 import MAX_BODY_BYTES
from dispatcher.channels.webhook import Target, WebhookChannel
from dispatcher.kernel import clock
from dispatcher.kernel.clock import elapsed, unix_time, utc_now, wait_for

SECONDS = 2.0  # short enough to wait out, long enough for two busy cores
SLACK = 1.0
ENVELOPE = Envelope(
    message_id=7, recipient="+905551111111", content="hello 👋", attempt=1, correlation_id="c-1"
)
OK = "HTTP/1.1 200 OK\r\n"


def in_an_hour() -> datetime:
    return utc_now() + timedelta(hours=1)


@contextlib.asynccontextmanager
async def channel_to(url: str, auth_key: str | None = None) -> AsyncIterator[WebhookChannel]:
    channel = WebhookChannel(Target(url, auth_key=auth_key), concurrency=8)
    try:
        yield channel
    finally:
        await channel.close()


async def outcome_from(behaviour: Behaviour, seconds: float = SECONDS) -> Outcome:
    async with hostile_receiver(behaviour) as receiver, channel_to(receiver.url) as channel:
        begun = elapsed()
        outcome = await channel.deliver(ENVELOPE, seconds=seconds)
        assert elapsed() - begun < seconds + SLACK
        return outcome


async def test_request_is_byte_exact() -> None:
    async with (
        hostile_receiver(hostile.status("202 Accepted")) as receiver,
        channel_to(receiver.url + "?token=t", auth_key="s3cret") as channel,
    ):
        before = int(utc_now().timestamp())
        assert isinstance(await channel.deliver(ENVELOPE, seconds=SECONDS), Delivered)
        await channel.deliver(ENVELOPE, seconds=SECONDS)
    assert receiver.bodies[0] == '{"to":"+905551111111","content":"hello 👋"}'.encode()
    assert receiver.heads[0].startswith(b"POST /webhook?token=t HTTP/1.1\r\n")
    headers = receiver.headers(0)
    assert before <= int(headers.pop("webhook-timestamp")) <= int(utc_now().timestamp())
    assert headers == {
        "content-type": "application/json",
        "webhook-id": "7",
        "x-correlation-id": "c-1",
        "x-ins-auth-key": "s3cret",
        "accept": "*/*",
        "user-agent": f"dispatcher/{__version__}",
        "host": f"127.0.0.1:{receiver.port}",
        "content-length": str(len(receiver.bodies[0])),
    }
    assert receiver.headers(1)["webhook-id"] == "7"


async def test_without_a_key_no_auth_header_is_sent() -> None:
    async with hostile_receiver(hostile.status("200 OK")) as receiver, channel_to(receiver.url) as channel:
        await channel.deliver(ENVELOPE, seconds=SECONDS)
    assert "x-ins-auth-key" not in receiver.headers()


@pytest.mark.parametrize(
    ("behaviour", "status", "receipt_id", "excerpt"),
    [
        (hostile.status("200 OK", b'{"messageId":"abc"}'), 200, "abc", '{"messageId":"abc"}'),
        (hostile.status("202 Accepted", b'{"messageId":42}'), 202, "42", '{"messageId":42}'),
        (hostile.answers(b"HTTP/1.1 204 No Content\r\n\r\n"), 204, None, None),
        (hostile.status("200 OK", b"{not json"), 200, None, "{not json"),
        (hostile.status("200 OK", b"\xff\x00\x1b[2J"), 200, None, "\ufffd\ufffd\ufffd[2J"),
        (hostile.endless, 200, None, "x" * 1_024),
        (hostile.answers(f'{OK}content-length: 99\r\n\r\n{{"a'.encode(), keep=False), 200, None, '{"a'),
        (hostile.answers(f"{OK}transfer-encoding: chunked\r\n\r\nzz\r\n".encode()), 200, None, None),
        (hostile.stalls_after(f"{OK}content-length: 99\r\n\r\nhal".encode()), 200, None, "hal"),
        (hostile.stalls_after(f"{OK}\r\nhal".encode()), 200, None, "hal"),
        (hostile.answers(f'{OK}\r\n{{"messageId":"b"}}'.encode(), keep=False), 200, "b", '{"messageId":"b"}'),
        (hostile.answers(f"{OK}content-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc".encode()), 200, None, "abc"),
        (hostile.answers(b"HTTP/1.1 100 Continue\r\n\r\n" + OK.encode() + b"content-length: 0\r\n\r\n"), 200, None, None),
    ],
)  # fmt: skip
async def test_any_2xx_is_delivered_whatever_its_body(
    behaviour: Behaviour, status: int, receipt_id: str | None, excerpt: str | None
) -> None:
    begun = unix_time()
    outcome = await outcome_from(behaviour)
    assert isinstance(outcome, Delivered)
    assert (outcome.status, outcome.receipt_id, outcome.excerpt) == (status, receipt_id, excerpt)
    assert begun < outcome.at < begun + SECONDS  # when the answer began, not when it ended


@pytest.mark.parametrize("line", ["204 No Content", "304 x", "200 OK", "404 x"])
@pytest.mark.parametrize(
    "header",
    [
        *(b"content-length: abc", b"content-length: 5, 5", b"content-length: \xff", b"content-length:"),
        *(b"content-length: -1", b"content-length: +5", b"content-length: " + b"9" * 5_000),
        *(b"content-length: \xd9\xa3", b"content-length: 1_0", b"content-length: 5\r\ncontent-length: 6"),
        *(b"content-length: abc\r\ntransfer-encoding: chunked", b"transfer-encoding: \xff"),
        *(b"transfer-encoding: chunked, chunked", b"location: \xff\r\ncontent-length: \xff"),
    ],
    ids=lambda header: repr(header[:40]),
)
async def test_no_header_that_a_receiver_sends_makes_the_channel_raise(line: str, header: bytes) -> None:
    raw = f"HTTP/1.1 {line}\r\n".encode() + header + b"\r\n\r\n"
    outcome = await outcome_from(hostile.answers(raw, keep=False))
    assert isinstance(outcome, Delivered | Retry | Rejected)


def unanswered(error: str) -> Retry:
    """The request was out and no answer came: the receiver may have the message."""
    return Retry(error, maybe_delivered=True, target_failed=True)


def broken(error: str, status: int | None = None, excerpt: str | None = None) -> Retry:
    """It is the receiver that fails, whatever the message."""
    return Retry(error, status, excerpt, target_failed=True)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (hostile.status("500 Oops", b"why"), broken("the webhook answered 500 Internal Server Error", 500, "why")),
        (hostile.status("503 x"), broken("the webhook answered 503 Service Unavailable", 503)),
        (hostile.status("429 x"), Retry("the webhook answered 429 Too Many Requests", 429)),
        (hostile.status("408 x"), Retry("the webhook answered 408 Request Timeout", 408)),
        (hostile.status("425 x"), Retry("the webhook answered 425 Too Early", 425)),
        (hostile.status("404 x"), Rejected("the webhook answered 404 Not Found: check webhook_url", 404)),
        (hostile.status("410 x"), Rejected("the webhook answered 410 Gone: it says that it is gone for good; set webhook_url to another address", 410)),
        (hostile.status("401 x"), Rejected("the webhook answered 401 Unauthorized: check webhook_auth_key", 401)),
        (hostile.status("422 x"), Rejected("the webhook answered 422 Unprocessable Entity", 422)),
        (hostile.status("999 x"), Retry("the webhook answered 999", 999)),
        (hostile.status("500 x", b"k" * 100_000), broken("the webhook answered 500 Internal Server Error", 500, "k" * 1_024)),
        (hostile.stalls_after(b"HTTP/1.1 404 x\r\ncontent-length: 9\r\n\r\nno"), Rejected("the webhook answered 404 Not Found: check webhook_url", 404, "no")),
        (hostile.answers(b"HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"), Retry("the webhook answered 101 Switching Protocols", 101)),
        (hostile.stalls_after(b""), unanswered("no answer within 2 s")),
        (hostile.drips(OK.encode() + b"x-slow: " + b"s" * 1_000, pause_seconds=0.1), unanswered("no answer within 2 s")),
        (hostile.closes, unanswered("closed without an answer")),
        (hostile.answers(b"HTTP/1.1 200", keep=False), unanswered("closed without an answer")),
        (hostile.resets, unanswered("connection reset")),
        (hostile.answers(OK.encode() + b"x-big: " + b"b" * 2_000_000, keep=False), unanswered("the answer's headers are too large")),
        (hostile.answers(OK.encode() + b"x-many: m\r\n" * 500 + b"\r\n"), unanswered("the answer's headers are too large")),
        (hostile.answers(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), unanswered("the answer is not valid HTTP: Expected HTTP/, RTSP/ or ICE/")),
    ],
)  # fmt: skip
async def test_everything_else_says_what_happened(behaviour: Behaviour, expected: Outcome) -> None:
    assert await outcome_from(behaviour) == expected


@pytest.mark.parametrize("line", ["503 x", "500 x", "429 x", "425 x", "307 x"])
@pytest.mark.parametrize(
    ("value", "least", "most"),
    [("120", 120, 120), ("604800", 604_800, 604_800), ("a date in an hour", 3_000, 3_600)],
)  # fmt: skip
async def test_the_wish_to_be_left_alone_is_kept(line: str, value: str, least: float, most: float) -> None:
    asked = format_datetime(in_an_hour(), usegmt=True) if value == "a date in an hour" else value
    outcome = await outcome_from(hostile.status(line, b"", f"retry-after: {asked}"))
    assert isinstance(outcome, Retry)
    assert outcome.retry_after is not None
    assert least <= outcome.retry_after <= most


@pytest.mark.parametrize(
    "value", ["", "soon", "-5", "1.5", "1e3", "0", "9" * 400, "Sun, 06 Nov 1994 08:49:37 GMT"]
)
async def test_a_wish_that_means_nothing_is_none(value: str) -> None:
    outcome = await outcome_from(hostile.status("503 x", b"", f"Retry-After: {value}"))
    assert outcome == broken("the webhook answered 503 Service Unavailable", 503)


async def test_a_redirect_is_named_and_not_followed() -> None:
    async with hostile_receiver(hostile.status("200 OK")) as final:
        location = f"location: http://u:p@127.0.0.1:{final.port}/moved?secret=1"
        outcome = await outcome_from(hostile.status("301 x", b"", location))
        assert final.connections == 0
    assert outcome == Retry(
        f"the webhook redirects to http://127.0.0.1:{final.port} (301): set webhook_url to the final address",
        status=301,
    )


@pytest.mark.parametrize(
    "header", ["x-a: b", "location: javascript:alert(1)", "location: http://[", "location: \xff"]
)
async def test_a_redirect_to_nowhere(header: str) -> None:
    outcome = await outcome_from(hostile.status("302 x", b"", header))
    assert outcome == Retry("the webhook answered 302 without an address to go to: check webhook_url", 302)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://127.0.0.1:{closed}/?secret=s", "connection refused"),
        ("https://127.0.0.1:{closed}/?secret=s", "connection refused"),
        ("http://no-such-host.invalid/?secret=s", "the webhook's host name cannot be resolved: check webhook_url"),
        ("ftp://u:secret@example.com/", "webhook_url must begin with http:// or https://"),
        ("http://u:secret@h:99999/", "webhook_url is not a URL (invalid port number): set it to one like https://example.com/hook"),
        ("secret", "webhook_url is not a URL (relative URL without a base): set it to one like https://example.com/hook"),
    ],
)  # fmt: skip
async def test_a_target_nobody_answers_at(url: str, error: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    async with channel_to(url.format(closed=closed)) as channel:
        outcome = await channel.deliver(ENVELOPE, seconds=10)
    assert outcome == broken(error)
    assert "secret" not in error


async def test_tls_to_a_plain_receiver() -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/?secret=s"
        async with channel_to(url) as channel:
            outcome = await channel.deliver(ENVELOPE, seconds=SECONDS)
    assert isinstance(outcome, Retry)
    assert outcome.error.startswith("TLS: ")  # the rest is OpenSSL's, and differs from version to version
    assert outcome == broken(outcome.error)
    assert "secret" not in outcome.error


@pytest.mark.parametrize(
    ("header", "key"), [("bad name", "k"), ("x-key", "s3cret\nx: y"), ("x-key", "s3cr\u00e9t")]
)
async def test_a_key_that_is_no_header_is_told_without_repeating_it(header: str, key: str) -> None:
    channel = WebhookChannel(Target("http://127.0.0.1:1/", header, key), concurrency=1)
    outcome = await channel.deliver(ENVELOPE, seconds=SECONDS)
    await channel.close()
    assert outcome == broken(
        "webhook_auth_header and webhook_auth_key must be printable ASCII, the header one word"
    )
    assert "s3cr" not in repr(Target("http://x/", header, key))


async def test_odd_envelopes_neither_raise_nor_forge_headers() -> None:
    async with hostile_receiver(hostile.status("200 OK")) as receiver, channel_to(receiver.url) as channel:
        odd = Envelope(1, "+90", "x", 1, "a\r\nx-forged: 1\u20ac" + "b" * 1_000)
        assert isinstance(await channel.deliver(odd, seconds=SECONDS), Delivered)
        broken = Envelope(1, "+90", "half \ud83d", 1, "c")
        assert isinstance(await channel.deliver(broken, seconds=SECONDS), Rejected)
    assert re.fullmatch(r"a\?\?x-forged: 1\?b{241}", receiver.headers()["x-correlation-id"])
    assert "x-forged" not in receiver.headers()
    assert len(receiver.heads) == 1


async def test_proxies_from_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with hostile_receiver(hostile.closes) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert isinstance(await outcome_from(hostile.status("200 OK")), Delivered)
        assert proxy.connections == 0


@pytest.mark.parametrize("body", [b"", b'{"messageId":"abc"}', b"x" * (MAX_BODY_BYTES - 1)])
async def test_sequential_sends_share_one_connection_and_no_cookies(body: bytes) -> None:
    async with hostile_receiver(hostile.status("200 OK", body, "set-cookie: a=b")) as receiver:
        async with channel_to(receiver.url) as channel:
            for _ in range(50):
                assert isinstance(await channel.deliver(ENVELOPE, seconds=5), Delivered)
        assert (receiver.connections, len(receiver.heads)) == (1, 50)
        assert "cookie" not in receiver.headers()


async def test_concurrent_sends_share_as_many_connections() -> None:
    async with hostile_receiver(hostile.status("200 OK", b"{}")) as receiver:
        async with channel_to(receiver.url) as channel:
            for _ in range(10):
                await asyncio.gather(*(channel.deliver(ENVELOPE, seconds=5) for _ in range(8)))
        assert len(receiver.heads) == 80
        assert receiver.connections <= 8


async def test_a_connection_closed_while_idle_is_replaced() -> None:
    async with (
        hostile_receiver(hostile.answers(f"{OK}content-length: 0\r\n\r\n".encode(), keep=False)) as receiver,
        channel_to(receiver.url) as channel,
    ):
        for _ in range(3):
            receiver.abandoned.clear()
            assert isinstance(await channel.deliver(ENVELOPE, seconds=5), Delivered)
            assert await wait_for(receiver.abandoned, 5)


async def test_the_deadline_may_change_between_attempts() -> None:
    async with hostile_receiver(hostile.stalls_after(b"")) as receiver, channel_to(receiver.url) as channel:
        for seconds in (0.0, -1.0, 0.3, 0.1):
            begun = elapsed()
            outcome = await channel.deliver(ENVELOPE, seconds=seconds)
            text = f"no answer within {seconds:g} s"
            # In no time at all not even a connection is made.
            assert outcome == (unanswered(text) if seconds > 0 else broken(text))
            assert max(seconds, 0) <= elapsed() - begun < max(seconds, 0) + SLACK


@pytest.mark.parametrize("sent", [b"", f"{OK}content-length: 9\r\n\r\nhal".encode()])
async def test_cancellation_passes_through_and_ends_the_exchange(sent: bytes) -> None:
    # The request arrives and is answered in one turn of the loop, so this also is the cancellation that meets an answer.
    async with hostile_receiver(hostile.stalls_after(sent)) as receiver, channel_to(receiver.url) as channel:
        begun = elapsed()
        attempt = asyncio.create_task(channel.deliver(ENVELOPE, seconds=600))
        assert await wait_for(receiver.arrived, 5)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        assert await wait_for(receiver.abandoned, 5)
        assert elapsed() - begun < 5


async def test_no_cancellation_is_lost_whenever_it_comes() -> None:
    async with (
        hostile_receiver(hostile.status("200 OK", b"{}")) as receiver,
        channel_to(receiver.url) as channel,
    ):
        for turns in range(200):
            attempt = asyncio.create_task(channel.deliver(ENVELOPE, seconds=5))
            for _ in range(turns % 20):
                await clock.pause(0)
            if attempt.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await attempt
        assert isinstance(await channel.deliver(ENVELOPE, seconds=5), Delivered)


async def test_an_earlier_cancellation_of_the_caller_is_not_taken_for_a_new_one() -> None:
    async def survivor(channel: WebhookChannel) -> Outcome:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        return await channel.deliver(ENVELOPE, seconds=5)

    async with hostile_receiver(hostile.status("200 OK")) as receiver, channel_to(receiver.url) as channel:
        task = asyncio.create_task(survivor(channel))
        await clock.pause(0)
        task.cancel()
        assert isinstance(await task, Delivered)
