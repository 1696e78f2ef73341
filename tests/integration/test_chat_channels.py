"""What a replica hears of the others over Redis."""

import asyncio
from uuid import uuid4

import pytest

from dispatcher.chat.live import channels as channels_module
from dispatcher.chat.live.channels import Channels
from dispatcher.kernel.clock import pause


async def test_nobody_waits_for_a_channel_that_is_no_longer_wanted(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels_module, "HEARD_SECONDS", 60.0)
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
    try:
        async with asyncio.timeout(5):
            await turned.wait()
            asyncio.get_running_loop().call_soon(channels.release, ["u:alice"])  # before it is subscribed to
            channels.keep(["u:alice"])
            await channels.heard(["u:alice"])
            for _ in range(5):  # asked for again while Redis has not confirmed the end
                channels.keep(["u:alice"])
                await channels.heard(["u:alice"])
                channels.release(["u:alice"])
                await pause(0)
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        await channels.close()


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
