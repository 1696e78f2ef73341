"""One HTTP/1.1 connection as a client: a request goes out in one write, its answer comes back in a future.

Only the protocol: whether to connect, how often and what an answer means is decided elsewhere. All of it runs on the
event loop's own thread, so an exchange costs one write and, mostly, one read.
"""

import asyncio
import select
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from dispatcher.kernel.clock import unix_time

MAX_BODY_BYTES = 64 * 1_024
MAX_HEAD_BYTES = 64 * 1_024
MAX_HEADERS = 100
IDLE_SECONDS = 4.0
"""A connection unused for so long is closed: many servers close theirs after five, and a close that crosses a request
leaves nobody knowing whether it arrived."""

_SWITCHING_PROTOCOLS = 101
_FINAL = 200
_WITHOUT_BODY = frozenset({101, 204, 304})


class ClosedEarlyError(ConnectionError):
    """The receiver closed the connection before its answer's headers had come."""

    def __init__(self) -> None:
        super().__init__("closed without an answer")


class HeadersTooLargeError(HttpParserError):
    """The answer's headers are more than anyone means."""

    def __init__(self) -> None:
        super().__init__("the answer's headers are too large")


@dataclass(slots=True)
class Answer:
    """What came back for a request."""

    status: int
    headers: list[tuple[bytes, bytes]]
    at: float
    """When the last of its headers had come, in seconds since 1970."""
    body: bytes = b""
    """At most 64 KiB of it, as far as it came: what goes wrong in a body changes nothing about the answer."""

    def header(self, name: bytes) -> str | None:
        """The first header of this name (in lower case); None also for one that is not ASCII."""
        for other, value in self.headers:
            if other.lower() == name:
                return value.decode() if value.isascii() else None
        return None


class Burst:
    """The requests of one turn of the event loop: they go out together at its end.

    A write wakes whoever reads at the other end. A receiver on the same machine that is woken for each request has
    answered it and gone to sleep again before the next is there, and both pay for that.
    """

    def __init__(self) -> None:
        self._waiting: list[Connection] = []

    def add(self, connection: "Connection", loop: asyncio.AbstractEventLoop) -> None:
        """Have the connection send its request when this turn is over."""
        if not self._waiting:
            loop.call_soon(self.send)
        self._waiting.append(connection)

    def send(self) -> None:
        """Send what waits, at once."""
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.send()


class Connection(asyncio.Protocol):
    """A connection that carries one exchange after the other."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        burst: Burst,
        made: Callable[["Connection"], None],
        gone: Callable[["Connection"], None],
    ) -> None:
        """`made` is told when the connection can be used, `gone` when one that was made is over."""
        self._loop, self._burst, self._made, self._gone = loop, burst, made, gone
        self._transport: asyncio.Transport | None = None
        """None also from the moment on that no request can go out any more."""
        self._waiter: asyncio.Future[Answer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until = self._fires_at = 0.0
        self._poll = select.poll()
        self._request = b""
        self._parser = HttpResponseParser(self)
        # What real receivers send, and what cannot hurt the reader of a single answer.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_chunked_length=True,
            lenient_data_after_close=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._begin()

    def ask(self, request: bytes, deadline: float) -> asyncio.Future[Answer]:
        """Send a request with the burst. Its answer comes by `deadline` on the loop's clock, with as much of its body as has come.

        The future fails with an OSError (TimeoutError, ClosedEarlyError, …) or an HttpParserError where the headers did not
        come. Only one request at a time; whoever no longer wants the answer calls `abort`.

        Raises:
            ClosedEarlyError: The connection was over already; nothing was sent.
        """
        self._begin()
        if self._transport is None:
            raise ClosedEarlyError
        self._waiter = waiter = self._loop.create_future()
        self._last_until(deadline)
        self._request = request
        self._burst.add(self, self._loop)
        return waiter

    def send(self) -> None:
        """Send the request now, unless the connection has ended since it was made."""
        if self._transport is not None and not self._transport.is_closing():
            self.sent = True
            self._transport.write(self._request)

    def rest(self) -> bool:
        """Wait for the next request; False if there can be none after what the connection went through."""
        if not self._reusable or self._transport is None or self._transport.get_write_buffer_size():
            return False
        self._last_until(self._loop.time() + IDLE_SECONDS)
        return True

    def quiet(self) -> bool:
        """Open, and nothing has come since the last answer, nor an end that the loop has yet to tell of."""
        return self._transport is not None and not self._poll.poll(0)

    def abort(self) -> None:
        """Give the connection up at once, whatever is under way."""
        self._end(ClosedEarlyError())

    def _begin(self) -> None:
        self._answer: Answer | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._read = 0
        self._complete = self._reusable = False
        self.sent = False
        """Whether the request has gone out. If not, the receiver cannot have it."""

    def _last_until(self, moment: float) -> None:
        # One timer serves many exchanges: it is set anew only where it would come too late, and looks when it fires.
        self._until = moment
        if self._timer is None or self._fires_at > moment:
            if self._timer is not None:
                self._timer.cancel()
            self._fires_at = moment
            self._timer = self._loop.call_at(moment, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        if self._until > self._fires_at:
            self._last_until(self._until)
        else:
            self._end(TimeoutError())

    def _end(self, failure: Exception) -> None:
        """End the connection, and the exchange with what there is of an answer."""
        self._reusable = False
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        if self._answer is not None:
            self._hand_over(self._answer)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(failure)
            self._waiter.exception()  # seen, also where a cancellation comes before it
        self._waiter = None

    def _hand_over(self, answer: Answer) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            answer.body = bytes(self._body)
            waiter.set_result(answer)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._last_until(self._loop.time() + IDLE_SECONDS)
        self._made(self)

    def data_received(self, data: bytes) -> None:
        if not self.sent or self._waiter is None:  # nobody asked: it must not be taken for an answer
            self.abort()
            return
        self._read += len(data)
        failure: Exception | None = None
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:  # after an upgrade another protocol is spoken
            self._reusable, failure = False, error
        answer = self._answer
        if answer is None:
            if self._read > MAX_HEAD_BYTES or len(self._headers) > MAX_HEADERS:
                self._end(HeadersTooLargeError())
            elif failure is not None:
                self._end(failure)
        elif self._complete and self._reusable:
            self._hand_over(answer)
        elif self._complete or failure or len(self._body) >= MAX_BODY_BYTES or answer.status in _WITHOUT_BODY:
            self._end(ClosedEarlyError())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._end(exc or ClosedEarlyError())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._gone(self)

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._reusable = False  # if it was, then this is the answer to nothing

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is None:  # otherwise a trailer
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._answer is not None:
            return
        status = self._parser.get_status_code()
        if status < _FINAL and status != _SWITCHING_PROTOCOLS:
            self._headers = []  # the answer is yet to come
        elif len(self._headers) > MAX_HEADERS or (
            # The same read may hold a long body, so only the headers count.
            self._read > MAX_HEAD_BYTES and sum(map(len, chain(*self._headers))) > MAX_HEAD_BYTES
        ):
            raise HeadersTooLargeError
        else:
            self._answer = Answer(status, self._headers, unix_time())

    def on_body(self, data: bytes) -> None:
        if self._answer is not None and self._answer.status in _WITHOUT_BODY:
            self._complete = True  # whatever this is, the connection is of no more use
        elif not self._complete and len(self._body) < MAX_BODY_BYTES:
            self._body += data[: MAX_BODY_BYTES - len(self._body)]

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._complete:
            self._complete, self._reusable = True, self._parser.should_keep_alive()
