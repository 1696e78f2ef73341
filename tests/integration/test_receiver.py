"""The sandbox's sample receiver: what it takes, what it shows, and that it ends with whoever started it."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import httpx2
import psutil

from dispatcher.channels.contract import Delivered, Envelope
from dispatcher.channels.webhook import Target, WebhookChannel
from dispatcher.embedded.receiver import KEPT, MAX_BODY_BYTES, running_receiver

HOLDER = """
import asyncio, pathlib, sys
from dispatcher.embedded.receiver import running_receiver

async def main():
    async with running_receiver(pathlib.Path(sys.argv[1])) as url:
        print(url, flush=True)
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


async def test_messages_are_taken_listed_and_escaped(tmp_path: Path) -> None:
    async with running_receiver(tmp_path) as url:
        channel = WebhookChannel(Target(f"{url}/webhook"), concurrency=1)
        hostile = "<script>alert('x')</script>"
        for message_id in (1, 2, 2):
            envelope = Envelope(message_id, f"+90{message_id}", hostile, 1, "c")
            outcome = await channel.deliver(envelope, seconds=5)
            assert isinstance(outcome, Delivered)
            assert (outcome.status, len(outcome.receipt_id or "")) == (202, 36)
        await channel.close()
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            page = await client.get("/")
            listed = (await client.get("/received", params={"limit": 2})).json()
            refused = [
                (await client.get("/received", params={"limit": n})).status_code for n in (0, KEPT + 1)
            ]
    assert hostile not in page.text
    assert page.text.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;") == 3
    assert "(2 times)" in page.text
    assert "http://" not in page.text
    assert [item["webhook_id"] for item in listed] == ["2", "2"]
    assert listed[0] | {"at": 0, "gap_seconds": 0} == {
        "at": 0, "to": "+902", "content": hostile, "webhook_id": "2", "correlation_id": "c", "gap_seconds": 0,
    }  # fmt: skip
    assert refused == [422, 422]


async def test_the_last_thousand_are_kept_and_bodies_are_bounded(tmp_path: Path) -> None:
    async with (
        running_receiver(tmp_path) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        for number in range(KEPT + 5):
            await client.post("/webhook", json={"to": "+90", "content": str(number)})
        answer = await client.get("/received", params={"limit": KEPT})
        oversized = await client.post("/webhook", content=b"x" * (MAX_BODY_BYTES + 1))
        odd = [
            await client.post("/webhook", content=body) for body in (b"", b"[]", b'{"to":1,"content":"x"}')
        ]
        foreign = await client.get("/", headers={"host": "example.com"})
    listed = answer.json()
    assert (len(listed), listed[0]["content"], listed[-1]["content"]) == (KEPT, str(KEPT + 4), "5")
    assert answer.headers["x-total-count"] == str(KEPT + 5)
    assert oversized.status_code == 413
    assert [response.status_code for response in odd] == [400, 400, 400]
    assert foreign.status_code == 400


async def test_the_port_is_remembered_or_replaced_when_taken(tmp_path: Path) -> None:
    async with running_receiver(tmp_path) as first, running_receiver(tmp_path / "other") as other:
        assert other != first
    async with running_receiver(tmp_path) as again:
        assert again == first
    with socket.create_server(("127.0.0.1", int(first.rpartition(":")[2]))):
        async with running_receiver(tmp_path) as moved:
            assert moved != first
    (tmp_path / "receiver-port").write_text("99999999 nonsense")
    async with running_receiver(tmp_path):
        pass


async def test_it_ends_with_the_context_and_ignores_ctrl_c(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    async with running_receiver(tmp_path) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        (process,) = set(psutil.Process().children()) - before
        assert os.getpgid(process.pid) == os.getpgrp()
        process.send_signal(signal.SIGINT)
        assert (await client.get("/received")).json() == []
    assert not process.is_running()


async def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    async with asyncio.timeout(20):
        assert (await holder.stdout.readline()).startswith(b"http://127.0.0.1:")
    (receiver,) = psutil.Process(holder.pid).children()
    holder.kill()
    await holder.wait()
    assert await asyncio.to_thread(psutil.wait_procs, [receiver], 5) == ([receiver], [])
