"""Connections that are used again, or must not be; and an answer that may come in pieces of any size."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread

import pytest
import trustme
import uvloop
from httptools import HttpParserError
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import hostile_receiver as hostile
from tests.hostile_receiver import Behaviour, HostileReceiver, hostile_receiver

from dispatcher.channels import http1
from dispatcher.channels.contract import Delivered, Envelope, Outcome, Retry
from dispatcher.channels.http1 import Answer, Burst, Connection
from dispatcher.channels.http_pool import HttpPool
from dispatcher.channels.webhook import Target, WebhookChannel
from dispatcher.kernel.clock import elapsed, wait_for

ENVELOPE = Envelope(message_id=7, recipient="+905551111111", content="hello", attempt=1, correlation_id="c-1")
EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@contextlib.asynccontextmanager
async def talking_to(
    behaviour: Behaviour, idle_limit: int = 8
) -> AsyncIterator[tuple[HostileReceiver, WebhookChannel]]:
    async with hostile_receiver(behaviour) as receiver:
        channel = WebhookChannel(Target(receiver.url), concurrency=idle_limit)
        try:
            yield receiver, channel
        finally:
            await channel.close()


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Each of these once, the last one for ever."""
    left = list(behaviours)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        return await (left.pop(0) if len(left) > 1 else left[0])(reader, writer)

    return behave


async def test_no_more_connections_rest_than_the_limit() -> None:
    everybody_is_here = asyncio.Barrier(5)

    async def together(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await everybody_is_here.wait()
        return await hostile.answers(EMPTY)(reader, writer)

    five = in_turn(*[together] * 5, hostile.answers(EMPTY))
    async with talking_to(five, idle_limit=2) as (receiver, channel):
        await asyncio.gather(*(channel.deliver(ENVELOPE, seconds=5) for _ in range(5)))
        assert receiver.connections == 5
        for _ in range(10):
            await asyncio.gather(*(channel.deliver(ENVELOPE, seconds=5) for _ in range(2)))
        assert receiver.connections == 5
        await asyncio.gather(*(channel.deliver(ENVELOPE, seconds=5) for _ in range(4)))
        assert receiver.connections == 7


@pytest.mark.parametrize(
    "ending",
    [
        EMPTY + EMPTY,
        EMPTY + b"garbage",
        EMPTY + b"HTTP/1.1 500 x\r\ncontent-length: 99\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"x" * 99_999,
    ],
    ids=repr,
)
async def test_after_an_answer_that_did_not_end_well_comes_a_new_connection(ending: bytes) -> None:
    async with talking_to(hostile.answers(ending)) as (receiver, channel):
        for n in range(1, 4):
            assert isinstance(await channel.deliver(ENVELOPE, seconds=5), Delivered)
            assert receiver.connections == n


async def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    asked = asyncio.Event()

    async def says_more_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(EMPTY)
        await asked.wait()
        return await hostile.stalls_after(b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n")(reader, writer)

    async with talking_to(in_turn(says_more_later, hostile.answers(EMPTY))) as (receiver, channel):
        assert isinstance(await channel.deliver(ENVELOPE, seconds=5), Delivered)
        asked.set()
        assert await wait_for(receiver.abandoned, 5)
        assert isinstance(await channel.deliver(ENVELOPE, seconds=5), Delivered)
        assert receiver.connections == 2


@pytest.mark.parametrize("event", [lambda peer: peer.send(EMPTY), lambda peer: peer.close()])
async def test_what_the_loop_has_not_read_yet_is_seen_too(event: Callable[[socket.socket], object]) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        pool = HttpPool("127.0.0.1", server.getsockname()[1], tls=False, idle_limit=8)
        connection = await pool.open(loop.time() + 5)
        peer, _ = await loop.sock_accept(server)
        with peer:
            coming = connection.ask(b"GET", loop.time() + 5)
            assert await loop.sock_recv(peer, 3) == b"GET"
            await loop.sock_sendall(peer, EMPTY)
            assert (await coming).status == 200
            pool.give_back(connection)
            assert pool.take() is connection
            pool.give_back(connection)
            event(peer)
            # No turn of the loop in between.
            assert pool.take() is None
        await pool.close()


async def test_a_connection_closed_under_a_request_may_have_delivered_it() -> None:
    async with talking_to(in_turn(hostile.answers(EMPTY), hostile.closes)) as (receiver, channel):
        assert isinstance(await channel.deliver(ENVELOPE, seconds=5), Delivered)
        outcome = await channel.deliver(ENVELOPE, seconds=5)
        assert outcome == Retry("closed without an answer", maybe_delivered=True, target_failed=True)
        assert (receiver.connections, len(receiver.heads)) == (1, 2)


async def test_an_idle_connection_is_closed_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "IDLE_SECONDS", 0.1)
    async with talking_to(hostile.answers(EMPTY)) as (receiver, channel):
        assert isinstance(await channel.deliver(ENVELOPE, seconds=0.5), Delivered)
        assert await wait_for(receiver.abandoned, 5)


@pytest.mark.parametrize(("first", "second"), [(60.0, 0.2), (0.2, 0.6)])
async def test_each_attempt_on_a_connection_has_its_own_deadline(first: float, second: float) -> None:
    async with talking_to(in_turn(hostile.answers(EMPTY), hostile.stalls_after(b""))) as (receiver, channel):
        assert isinstance(await channel.deliver(ENVELOPE, seconds=first), Delivered)
        begun = elapsed()
        outcome = await channel.deliver(ENVELOPE, seconds=second)
        assert second <= elapsed() - begun < second + 1
        assert outcome == Retry(f"no answer within {second:g} s", maybe_delivered=True, target_failed=True)
        assert receiver.connections == 1


class TlsReceiver(BaseHTTPRequestHandler):
    """Says yes to everything, as long as the connection lasts."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"%05d" % self.client_address[1])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextlib.contextmanager
def tls_receiver(host: str, authority: trustme.CA) -> Iterator[int]:
    """With a certificate for localhost and 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    with ThreadingHTTPServer((host, 0), TlsReceiver) as server:
        server.daemon_threads = False  # so that leaving the block waits for them
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2"])
@pytest.mark.parametrize("trusted", [True, False])
def test_tls_only_with_whom_a_trusted_certificate_names(
    *,
    loop: Callable[[], asyncio.AbstractEventLoop],
    host: str,
    trusted: bool,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if trusted:
        roots = tmp_path / "roots.pem"
        authority.cert_pem.write_to_path(str(roots))
        monkeypatch.setenv("SSL_CERT_FILE", str(roots))

    async def twice(port: int) -> list[Outcome]:
        channel = WebhookChannel(Target(f"https://{host}:{port}/"), concurrency=8)
        try:
            return [await channel.deliver(ENVELOPE, seconds=5) for _ in range(2)]
        finally:
            await channel.close()

    with (
        tls_receiver(host.replace("localhost", "127.0.0.1"), authority) as port,
        asyncio.Runner(loop_factory=loop) as runner,
    ):
        first, second = runner.run(twice(port))
    if not trusted:
        assert first == second == Retry("TLS: unable to get local issuer certificate", target_failed=True)
    elif host == "127.0.0.2":
        error = "TLS: IP address mismatch, certificate is not valid for '127.0.0.2'"
        assert first == second == Retry(error, target_failed=True)
    else:
        assert isinstance(first, Delivered)
        assert isinstance(second, Delivered)
        assert first.excerpt == second.excerpt, "one connection"


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (hostile.status("200 OK", b'{"messageId":"a"}'), Delivered),
        (hostile.stalls_after(b"HTTP/1.1 200 OK\r\n\r\nhal"), Delivered),
        (hostile.resets, Retry),
        (hostile.stalls_after(b""), Retry),
    ],
)
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_on_either_event_loop(
    loop: Callable[[], asyncio.AbstractEventLoop], behaviour: Behaviour, expected: type[Outcome]
) -> None:
    async def twice() -> None:
        async with talking_to(behaviour) as (_, channel):
            for _ in range(2):
                assert isinstance(await channel.deliver(ENVELOPE, seconds=0.3), expected)

    in_a_loop_of_its_own(twice, loop)


def in_a_loop_of_its_own(
    main: Callable[[], Awaitable[None]], loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def run() -> None:
        await main()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


HEADS = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 202 x\r\n", b"HTTP/1.1 204 x\r\n", b"HTTP/1.1 503 x\r\n", b"HTTP/1.1 304\r\n"),
        *(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", b"HTTP/1.1 103 x\r\nlink: a\r\n\r\nHTTP/1.1 404 x\r\n"),
        *(b"HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: x\r\n", b"SSH-2.0\r\n", b"", b"HTTP/1.1 2"),
    ]
)  # fmt: skip
HEADERS = st.sampled_from(
    [
        *(b"retry-after: 7\r\n", b"connection: close\r\n", b"X: \xff\x01\r\n", b"x : y\r\n", b"z:\r\n", b"a: b\n"),
        b"x-many: m\r\n" * 150,
    ]
)  # fmt: skip
BODIES = st.sampled_from(
    [
        *(b"content-length: 0\r\n\r\n", b"content-length: 5\r\n\r\nhello", b"content-length: 9\r\n\r\nhello", b"\r\nhello"),
        *(b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nx-trailer: t\r\n\r\n", b""),
        *(b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\nzz", b"content-length: x\r\n\r\nhello"),
    ]
)  # fmt: skip
AFTER = st.sampled_from([b"", b"", EMPTY, b"garbage", b"HTTP/1.1 100 x\r\n\r\n"])
ANSWERS = st.tuples(HEADS, st.lists(HEADERS, max_size=3).map(b"".join), BODIES, AFTER).map(b"".join)


async def read_in_pieces(pieces: list[bytes]) -> tuple[object, ...]:
    """What a connection makes of an answer that comes like this, after which the receiver closes."""
    loop, burst = asyncio.get_running_loop(), Burst()
    ours, peer = socket.socketpair()
    gone = asyncio.Event()
    _, connection = await loop.create_connection(
        lambda: Connection(loop, burst, lambda _: None, lambda _: gone.set()), sock=ours
    )
    with peer:
        coming = connection.ask(b"x", loop.time() + 60)
        burst.send()
        for piece in pieces:
            connection.data_received(piece)
        could_rest = connection.rest()
    try:
        answer: Answer = await coming
    except (OSError, HttpParserError) as error:
        return type(error), str(error), could_rest
    finally:
        assert await wait_for(gone, 5)
    return answer.status, answer.headers, answer.body, could_rest


@contextlib.asynccontextmanager
async def connected(burst: Burst) -> AsyncIterator[tuple[Connection, socket.socket]]:
    """A connection, and its other end, which does not block."""
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    _, connection = await loop.create_connection(
        lambda: Connection(loop, burst, lambda _: None, lambda _: gone.set()), sock=ours
    )
    with peer:
        yield connection, peer
        connection.abort()
        assert await wait_for(gone, 5)


async def test_the_requests_of_one_turn_go_out_together() -> None:
    burst, until = Burst(), asyncio.get_running_loop().time() + 60
    async with connected(burst) as (one, peer_of_one), connected(burst) as (other, peer_of_other):
        for connection in (one, other):
            connection.ask(b"x", until)
        for peer in (peer_of_one, peer_of_other):
            with pytest.raises(BlockingIOError):
                peer.recv(1)
        sent = [one.sent]
        burst.send()
        sent.append(one.sent)
        assert sent == [False, True]
        assert [peer.recv(2) for peer in (peer_of_one, peer_of_other)] == [b"x", b"x"]


async def test_a_connection_that_ends_before_the_burst_sends_nothing() -> None:
    burst = Burst()
    async with connected(burst) as (connection, peer):
        coming = connection.ask(b"x", asyncio.get_running_loop().time() + 60)
        connection.abort()
        burst.send()
        with pytest.raises(http1.ClosedEarlyError):
            await coming
        assert not connection.sent
        assert await asyncio.get_running_loop().sock_recv(peer, 2) == b""


def test_where_the_receiver_closes_before_the_burst_nothing_is_sent() -> None:
    async def close_it() -> None:
        burst = Burst()
        async with connected(burst) as (connection, peer):
            coming = connection.ask(b"x", asyncio.get_running_loop().time() + 60)
            peer.close()
            with pytest.raises(http1.ClosedEarlyError):
                await coming
            assert not connection.sent

    # asyncio's own loop would send first and look afterwards
    in_a_loop_of_its_own(close_it, uvloop.new_event_loop)


async def test_what_comes_before_the_request_is_sent_is_not_its_answer() -> None:
    burst = Burst()
    async with connected(burst) as (connection, peer):
        coming = connection.ask(b"x", asyncio.get_running_loop().time() + 60)
        connection.data_received(EMPTY)
        burst.send()
        with pytest.raises(http1.ClosedEarlyError):
            await coming
        assert await asyncio.get_running_loop().sock_recv(peer, 2) == b""


@given(ANSWERS, st.lists(st.integers(0, 400), max_size=12))
@settings(deadline=None, max_examples=300)
def test_an_answer_means_the_same_in_pieces_of_any_size(raw: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    pieces = [raw[a:b] for a, b in pairwise(places)]

    async def compare() -> None:
        whole = await read_in_pieces([raw])
        assert await read_in_pieces(pieces) == whole
        assert await read_in_pieces([raw[n : n + 1] for n in range(len(raw))]) == whole

    in_a_loop_of_its_own(compare, asyncio.new_event_loop)
