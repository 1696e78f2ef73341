"""A cluster of the real program a test: on the run's shared servers, or on servers of its own that it may stop."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.acceptance.cluster import Cluster, running_cluster
from tests.acceptance.receiver import Receiver, running_receiver

from dispatcher.embedded.servers import RunningServers, running_servers
from dispatcher.kernel.migrate import migrate


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


@pytest.fixture
async def cluster(
    servers: RunningServers,
    db_url: str,
    redis_url: str,  # noqa: ARG001 - empties Redis: another test's receipts are for other messages of the same ids
    tmp_path: Path,
) -> AsyncIterator[Cluster]:
    """On shared servers, with a database and an etcd prefix of its own."""
    prefix = f"/acceptance/{uuid4().hex[:12]}/"
    async with running_cluster(tmp_path, servers, db_url=db_url, etcd_prefix=prefix) as running:
        yield running


@pytest.fixture
async def own_cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """On servers of its own, which the test may stop, kill and start."""
    with tempfile.TemporaryDirectory(prefix="dispatcher-test-") as folder:
        async with running_servers(Path(folder), postgres=True, redis=True, etcd=True) as servers:
            db_url = servers.addresses.db_url
            assert db_url is not None
            await migrate(db_url)
            async with running_cluster(
                tmp_path, servers, db_url=db_url, etcd_prefix="/app/config/"
            ) as running:
                yield running
