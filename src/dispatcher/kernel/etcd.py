"""etcd: the keys under one prefix, whole, again after every change; through restarts, compaction and lost peers."""

import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import aetcd
import structlog
from aetcd import rpc, utils

from dispatcher.kernel.backoff import delay
from dispatcher.kernel.clock import pause
from dispatcher.kernel.errors import UnavailableError

log = structlog.get_logger()

CALL_SECONDS = 3
OPTIONS = {
    "grpc.max_receive_message_length": 64
    * 2**20,  # a few oversized values must be refused by us, not by gRPC
    "grpc.keepalive_time_ms": 10_000,  # finds a peer that vanished without closing its connection
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.http2.ping_timeout_ms": 5_000,  # what the pings really wait for; a minute unless set
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.max_reconnect_backoff_ms": 2_000,
}
ERRORS: tuple[type[Exception], ...] = (
    aetcd.ClientError,
    rpc.AioRpcError,
    UnavailableError,
    OSError,
    TimeoutError,
)


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything under the prefix at one revision; keys without the prefix."""

    cluster_id: int
    revision: int
    entries: Mapping[str, bytes]


@asynccontextmanager
async def connected(endpoint: str) -> AsyncIterator[aetcd.Client]:
    """A client of one endpoint, `host:port`."""
    host, _, port = endpoint.rpartition(":")
    async with aetcd.Client(host=host, port=int(port), timeout=CALL_SECONDS, options=OPTIONS) as client:
        yield client


class EtcdDirectory:
    """The keys under one prefix of an etcd cluster."""

    def __init__(self, endpoints: Sequence[str], *, prefix: str) -> None:
        self._endpoints = tuple(endpoints)
        self._prefix = prefix.encode()
        self.problem: str | None = "not connected yet"
        """What is wrong with the connection; None while it is watched."""

    async def listings(self) -> AsyncGenerator[Listing]:
        """The whole listing now, and again after each change, forever.

        Every change leads to a new listing rather than being applied as an event: the prefix is small, and a
        listing cannot miss, repeat or reorder anything, whatever happened to the watch.
        """
        failures = 0
        for endpoint in itertools.cycle(self._endpoints):
            try:
                async with connected(endpoint) as client, aclosing(self._watch(client)) as listings:
                    async for listing in listings:
                        self._connected(endpoint)
                        failures = 0
                        yield listing
            except ERRORS as error:
                failures += 1
                self._lost(endpoint, error)
            await pause(delay(max(failures, 1), base=0.2, cap=2.0))

    async def _watch(self, client: aetcd.Client) -> AsyncGenerator[Listing]:
        while True:
            listing = await self._list(client)
            yield listing
            await self._change(client, since=listing.revision)

    async def _list(self, client: aetcd.Client) -> Listing:
        found = await client.get_prefix(self._prefix)
        header = found.header
        return Listing(
            header.cluster_id,
            header.revision,
            {kv.key.removeprefix(self._prefix).decode(errors="replace"): kv.value for kv in found.kvs},
        )

    async def _change(self, client: aetcd.Client, *, since: int) -> None:
        """Return after the first change behind that revision, or when the watch has to begin anew.

        The stream is read here and not through aetcd's watcher, which hides a stream that ended from its reader.
        """
        request = rpc.WatchCreateRequest(
            key=self._prefix,
            range_end=utils.prefix_range_end(self._prefix),
            start_revision=since + 1,
        )
        stream = rpc.WatchStub(client.channel).Watch(metadata=client.metadata)
        try:
            await stream.write(rpc.WatchRequest(create_request=request))
            while True:
                response = await stream.read()
                if not isinstance(response, rpc.WatchResponse):
                    raise UnavailableError("etcd ended the watch")
                if response.events or response.canceled:
                    return
        finally:
            stream.cancel()

    def _connected(self, endpoint: str) -> None:
        if self.problem is not None:
            log.info("etcd_connected", endpoint=endpoint)
        self.problem = None

    def _lost(self, endpoint: str, error: Exception) -> None:
        details = error.details() if isinstance(error, rpc.AioRpcError) else str(error)
        text = details or type(error).__name__
        if self.problem is None or self.problem == "not connected yet":
            log.warning("etcd_unavailable", endpoint=endpoint, error=text)
        self.problem = text
