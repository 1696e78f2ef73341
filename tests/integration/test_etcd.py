"""Following etcd: through restarts, compaction, a lost store, and values that cannot be accepted."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.integration.rows import until

from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.db import Pool
from dispatcher.kernel.etcd import EtcdDirectory, connected
from dispatcher.kernel.live import Origin
from dispatcher.live_config import store
from dispatcher.live_config.follow import LiveConfigFollower
from dispatcher.live_config.model import LiveConfig
from dispatcher.live_config.store import LastGood

PREFIX = "/app/config/"
NOWHERE = "127.0.0.1:1"


@pytest.fixture
async def endpoint(own_servers: RunningServers) -> str:
    """The module's own etcd, without keys of ours."""
    assert own_servers.addresses.etcd_endpoints is not None
    address = own_servers.addresses.etcd_endpoints[0]
    async with connected(address) as client:
        await client.delete_prefix(b"/")
    return address


async def put(endpoint: str, **values: str | bytes) -> int:
    """The revision after the last of these puts."""
    async with connected(endpoint) as client:
        for key, value in values.items():
            raw = value if isinstance(value, bytes) else value.encode()
            await client.put(PREFIX.encode() + key.encode(), raw)
        revision: int = (await client.get_prefix(PREFIX.encode())).header.revision
        return revision


async def delete(endpoint: str, key: str) -> None:
    async with connected(endpoint) as client:
        await client.delete(PREFIX.encode() + key.encode())


@asynccontextmanager
async def following(
    pool: Pool, *endpoints: str, file: Mapping[str, Any] | None = None
) -> AsyncIterator[LiveConfigFollower]:
    """A follower as the service runs it."""
    follower = LiveConfigFollower(EtcdDirectory(endpoints, prefix=PREFIX), pool, file=file or {})
    await follower.catch_up()
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def wipe(servers: RunningServers) -> None:
    """Etcd loses its disk and comes back at the same address, with the same cluster id, at revision 1."""
    assert servers.etcd is not None
    assert servers.redis is not None
    folder = etcd_folder(servers)
    await servers.etcd.stop()
    shutil.rmtree(folder)
    await servers.etcd.start()


def etcd_folder(servers: RunningServers) -> Path:
    assert servers.addresses.db_url is not None
    socket = servers.addresses.db_url.partition("host=")[2]
    return Path(socket).parents[1] / "etcd" / "data"


async def test_a_listing_now_and_after_each_change(endpoint: str) -> None:
    async with connected(endpoint) as client:
        await client.put(b"/app/other", b"not ours")
    revision = await put(endpoint, rate_limit="5")
    async with aclosing(EtcdDirectory([endpoint], prefix=PREFIX).listings()) as listings:
        first = await anext(listings)
        assert (first.entries, first.revision) == ({"rate_limit": b"5"}, revision)
        await put(endpoint, rate_limit="6", scheduler_interval="1")
        entries: Mapping[str, bytes] = first.entries
        while len(entries) < 2:
            entries = (await anext(listings)).entries
        assert entries == {"rate_limit": b"6", "scheduler_interval": b"1"}
        await delete(endpoint, "rate_limit")
        assert (await anext(listings)).entries == {"scheduler_interval": b"1"}


async def test_a_compaction_beyond_our_revision_hides_no_change(endpoint: str) -> None:
    await put(endpoint, rate_limit="1")
    async with aclosing(EtcdDirectory([endpoint], prefix=PREFIX).listings()) as listings:
        await anext(listings)
        # the watch begins when the next listing is asked for, at a revision that is gone by then
        for n in range(2, 20):
            await put(endpoint, rate_limit=str(n))
        revision = await put(endpoint, rate_limit="20")
        async with connected(endpoint) as client:
            await client.compact(revision, physical=True)
        async with asyncio.timeout(10):
            assert (await anext(listings)).entries == {"rate_limit": b"20"}
            await put(endpoint, rate_limit="21")
            assert (await anext(listings)).entries == {"rate_limit": b"21"}


async def test_the_next_endpoint_is_tried(endpoint: str) -> None:
    directory = EtcdDirectory([NOWHERE, endpoint], prefix=PREFIX)
    assert directory.problem is not None
    async with aclosing(directory.listings()) as listings, asyncio.timeout(10):
        await anext(listings)
    assert directory.problem is None


async def test_a_put_takes_effect_and_a_delete_falls_back(endpoint: str, own_pool: Pool) -> None:
    await put(endpoint, rate_limit="5")
    async with following(own_pool, endpoint, file={"rate_limit": 3, "max_attempts": 9}) as follower:
        assert await follower.listed(seconds=10)
        assert (follower.live.value.rate_limit, follower.live.value.max_attempts) == (5, 9)
        sources = follower.sources()
        assert [sources[k] for k in ("rate_limit", "max_attempts", "lease_seconds")] == [
            "etcd",
            "file",
            "default",
        ]
        await put(endpoint, rate_limit="180")
        await until(lambda: follower.live.value.rate_limit == 180)
        await delete(endpoint, "rate_limit")
        await until(lambda: follower.live.value.rate_limit == 3)


async def test_many_puts_end_in_the_last_one(endpoint: str, own_pool: Pool) -> None:
    async with following(own_pool, endpoint) as follower:
        assert await follower.listed(seconds=10)
        async with connected(endpoint) as client:
            for n in range(1, 201):
                await client.put(b"/app/config/rate_limit", str(n).encode())
        await until(lambda: follower.live.value.rate_limit == 200)


async def test_bad_values_change_nothing_are_said_once_and_shown(endpoint: str, own_pool: Pool) -> None:
    await put(endpoint, rate_limit="5", webhook_url="http://good/")
    with capture_logs() as logs:
        async with following(own_pool, endpoint) as follower:
            assert await follower.listed(seconds=10)
            before = follower.live.value
            bad: dict[str, str | bytes] = {
                "rate_limit": "9" * 2**20,
                "webhook_url": "ftp://s3cret/",
                "scheduler_interval": "1e99",
                "on_uncertain": b"\xff",
                "nonsense": "1",
            }
            await put(endpoint, **bad)
            await until(lambda: set(follower.refused) == set(bad))
            assert follower.live.value == before
            await put(endpoint, max_attempts="7")
            await until(lambda: follower.live.value.max_attempts == 7)
            assert follower.live.value.rate_limit == 5
            await put(endpoint, rate_limit="6")
            await until(lambda: follower.live.value.rate_limit == 6)
            assert set(follower.refused) == set(bad) - {"rate_limit"}
    said = [line["key"] for line in logs if line["event"] == "live_value_refused"]
    assert sorted(said) == sorted(bad), "one line each, however many listings hold them"
    assert "s3cret" not in repr(logs)


async def test_a_restart_of_etcd_is_survived(
    endpoint: str, own_pool: Pool, own_servers: RunningServers
) -> None:
    await put(endpoint, rate_limit="5")
    assert own_servers.etcd is not None
    directory = EtcdDirectory([endpoint], prefix=PREFIX)
    follower = LiveConfigFollower(directory, own_pool, file={})
    task = asyncio.create_task(follower.run())
    assert await follower.listed(seconds=10)
    await own_servers.etcd.stop()
    await until(lambda: directory.problem is not None)
    assert follower.live.value.rate_limit == 5
    await own_servers.etcd.start()
    await put(endpoint, rate_limit="8")
    await until(lambda: follower.live.value.rate_limit == 8)
    assert directory.problem is None
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_start_without_etcd_uses_what_any_replica_accepted_last(
    endpoint: str, own_pool: Pool
) -> None:
    revision = await put(endpoint, rate_limit="5", webhook_auth_key="s3cret")
    async with following(own_pool, endpoint) as follower:
        assert await follower.listed(seconds=10)
        origin = follower.live.snapshot.origin
        assert origin is not None
        assert origin.revision == revision
    async with following(own_pool, NOWHERE) as other:
        assert other.live.value.rate_limit == 5
        assert other.live.snapshot.origin == origin
        assert not await other.listed(seconds=0.3)
        assert other.live.value.rate_limit == 5


async def test_an_etcd_that_lost_everything_changes_nothing_until_a_key_is_put(
    endpoint: str, own_pool: Pool, own_servers: RunningServers
) -> None:
    for n in range(20):
        await put(endpoint, rate_limit=str(5 + n))
    async with following(own_pool, endpoint) as follower, following(own_pool, endpoint) as second:
        await until(lambda: follower.live.value.rate_limit == 24 == second.live.value.rate_limit)
        before = follower.live.snapshot.origin
        assert before is not None
        await wipe(own_servers)
        await until(lambda: follower.emptied and second.emptied)
        assert follower.live.value.rate_limit == 24
        async with following(own_pool, endpoint) as newcomer:
            assert await newcomer.listed(seconds=10)
            assert newcomer.live.value.rate_limit == 24
        await put(endpoint, rate_limit="7")
        await until(lambda: follower.live.value.rate_limit == 7 == second.live.value.rate_limit)
        after = follower.live.snapshot.origin
        assert after is not None
        assert after > before, "or no replica would take it for news"
        assert second.live.snapshot.origin == after
        assert not follower.emptied
        kept = await store.load(own_pool)
        assert kept is not None
        assert (kept.origin, kept.entries) == (after, {"rate_limit": "7"})


async def test_a_deleted_last_key_is_a_wish_and_not_a_loss(endpoint: str, own_pool: Pool) -> None:
    await put(endpoint, rate_limit="5")
    async with following(own_pool, endpoint) as follower:
        await until(lambda: follower.live.value.rate_limit == 5)
        await delete(endpoint, "rate_limit")
        await until(lambda: follower.live.value.rate_limit == LiveConfig().rate_limit)
        assert not follower.emptied


@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ({"lease_seconds": 10, "webhook_timeout": 5}, {"webhook_timeout": "20", "rate_limit": "9"}),
        ({}, {"of_a_later_version": "1", "rate_limit": "9"}),
        ({}, {"max_attempts": "1000", "rate_limit": "9"}),
    ],
)
async def test_stored_values_that_no_longer_fit_do_not_prevent_a_start(
    own_pool: Pool, file: dict[str, Any], entries: dict[str, str]
) -> None:
    await store.save(own_pool, LastGood(1, Origin(0, 1), entries))
    async with following(own_pool, NOWHERE, file=file) as follower:
        assert follower.live.value == LiveConfig.model_validate({**file, "rate_limit": 9})


async def test_an_earlier_revision_never_replaces_what_is_stored(own_pool: Pool) -> None:
    latest = LastGood(2**64 - 1, Origin(1, 5), {"rate_limit": "5"})
    await store.save(own_pool, latest)
    for origin in (Origin(1, 4), Origin(0, 99), Origin(1, 5)):
        await store.save(own_pool, LastGood(7, origin, {"rate_limit": "1"}))
    assert await store.load(own_pool) == latest
    await store.save(own_pool, LastGood(7, Origin(2, 1), {}))
    assert await store.load(own_pool) == LastGood(7, Origin(2, 1), {})


async def test_a_replica_cut_off_from_etcd_catches_up_with_the_others(endpoint: str, own_pool: Pool) -> None:
    await put(endpoint, webhook_url="http://127.0.0.1/old")
    async with following(own_pool, endpoint) as connected_one:
        await until(lambda: connected_one.live.value.webhook_url == "http://127.0.0.1/old")
        async with following(own_pool, NOWHERE) as cut_off:
            assert cut_off.live.value.webhook_url == "http://127.0.0.1/old"
            await put(endpoint, webhook_url="http://127.0.0.1/new")
            await until(lambda: connected_one.live.value.webhook_url == "http://127.0.0.1/new")
            await cut_off.catch_up()
            assert cut_off.live.snapshot == connected_one.live.snapshot


async def test_an_own_listing_that_comes_late_is_no_fall_of_the_revision(
    endpoint: str, own_pool: Pool
) -> None:
    """Another replica was faster, and this one had caught up with it from Postgres before its own listing came."""
    await put(endpoint, rate_limit="3")
    async with following(own_pool, endpoint) as follower:
        await until(lambda: follower.live.value.rate_limit == 3)
        stored = await store.load(own_pool)
        assert stored is not None
        ahead = Origin(stored.origin.epoch, stored.origin.revision + 2)
        await store.save(own_pool, LastGood(stored.cluster_id, ahead, {"rate_limit": "5"}))
        await follower.catch_up()
        assert follower.live.value.rate_limit == 5
        await put(endpoint, rate_limit="4")  # revision + 1: what it brings is older than what is known
        await put(endpoint, rate_limit="5")
        await put(endpoint, rate_limit="6")
        await until(lambda: follower.live.value.rate_limit == 6)
        origin = follower.live.snapshot.origin
        assert origin is not None
        assert origin.epoch == stored.origin.epoch
