"""An etcd that keeps its connections and answers nothing is noticed, and left for the next endpoint."""

import asyncio
import os
import signal
from contextlib import aclosing

from tests.integration.rows import until

from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.etcd import EtcdDirectory

NOTICED_SECONDS = 20.0  # a ping after 10 s of silence, 5 s for its answer


async def test_a_frozen_etcd_is_noticed(own_servers: RunningServers) -> None:
    assert own_servers.addresses.etcd_endpoints is not None
    assert own_servers.etcd is not None
    pid = own_servers.etcd.pid
    assert pid is not None
    directory = EtcdDirectory(own_servers.addresses.etcd_endpoints, prefix="/app/config/")
    async with aclosing(directory.listings()) as listings:
        await anext(listings)
        assert directory.problem is None
        following = asyncio.ensure_future(anext(listings))
        os.kill(pid, signal.SIGSTOP)
        try:
            await until(lambda: directory.problem is not None, seconds=NOTICED_SECONDS)
        finally:
            os.kill(pid, signal.SIGCONT)
        await asyncio.wait_for(following, 20)
        assert directory.problem is None
