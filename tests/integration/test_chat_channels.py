"""What a replica hears of the others over Redis."""

import asyncio
from uuid import uuid4

from dispatcher.chat.live.channels import Channels
from dispatcher.kernel.clock import pause


async def test_listening_ends_when_it_is_told_to_whatever_is_asked_of_redis_meanwhile(redis_url: str) -> None:
    """Many subscriptions end in the same moment as the service."""
    for steps in range(30):
        turned = asyncio.Event()
        channels = Channels(
            redis_url,
            password=None,
            db=0,
            prefix=f"test:{uuid4().hex}:",
            got=lambda *_: None,
            turned=turned.set,
        )
        listening = asyncio.create_task(channels.run())
        async with asyncio.timeout(5):
            await turned.wait()
        channels.keep(["u:alice"])
        for _ in range(steps):
            await pause(0)
        listening.cancel()
        await asyncio.wait([listening], timeout=5)
        assert listening.cancelled(), steps
        await channels.close()
