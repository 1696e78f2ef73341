"""A cluster of the real program a test: on the run's shared servers, or on servers of its own that it may stop."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.acceptance.cluster import Cluster, running_cluster, running_own_cluster
from tests.acceptance.receiver import Receiver, running_receiver
from tests.conftest import administer, database_url

from dispatcher.embedded.servers import RunningServers


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


@pytest.fixture(scope="module")
async def chat_cluster(
    servers: RunningServers, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    """One for all tests of a module, which have users of their own; on shared servers."""
    tag = uuid4().hex[:12]
    await administer(servers, f"CREATE DATABASE chat_{tag} TEMPLATE {template} STRATEGY wal_log")
    url = database_url(servers, f"chat_{tag}")
    folder = tmp_path_factory.mktemp("chat")
    async with running_cluster(folder, servers, db_url=url, etcd_prefix=f"/acceptance/{tag}/") as running:
        yield running


@pytest.fixture
async def own_cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """On servers of its own, which the test may stop, kill and start."""
    async with running_own_cluster(tmp_path) as running:
        yield running
