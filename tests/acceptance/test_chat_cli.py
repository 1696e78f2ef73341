"""`dispatcher chat`, as two people use it: on terminals, and on pipes."""

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.replica import COMMAND, Replica
from tests.acceptance.terminal import Terminal

from dispatcher.client import chat_api

SECRET = "a secret of tests that is long enough"
CLEAR = "\x1b[2J\x1b[H\x9b2J"


@pytest.fixture(scope="module")
async def service(chat_cluster: Cluster) -> Replica:
    """As `make run` starts it: no tokens, no key."""
    (replica,) = await chat_cluster.start(1)
    return replica


@pytest.fixture
def two() -> tuple[str, str]:
    tag = uuid4().hex[:4]
    return f"alice-{tag}", f"bob-{tag}"


@asynccontextmanager
async def terminal(at: Replica, *arguments: str) -> AsyncIterator[Terminal]:
    opened = Terminal()
    try:
        await opened.run("chat", *arguments, folder=at.folder, environment=at.environment)
        await opened.shows(lambda text: "/quit" in text, "there")
        yield opened
    finally:
        await opened.close()


class Pipe:
    """The command between two pipes."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.lines: list[str] = []

    def write(self, line: str | bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write((line if isinstance(line, bytes) else line.encode()) + b"\n")

    async def until(self, true: Callable[[str], bool]) -> str:
        """The next line of which this is true."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(30):
                while line := (await self._process.stdout.readline()).decode():
                    self.lines.append(line)
                    if true(line):
                        return line
        except TimeoutError:
            pass
        raise AssertionError(f"it only says: {self.lines}")

    async def end(self) -> int:
        """Close its input and read the rest of what it says; its exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(30):
                while line := (await self._process.stdout.readline()).decode():
                    self.lines.append(line)
                return await self._process.wait()
        except TimeoutError:
            raise AssertionError(f"it does not end: {self.lines}") from None


@asynccontextmanager
async def piped(at: Replica, *arguments: str, **environment: str) -> AsyncIterator[Pipe]:
    process = await asyncio.create_subprocess_exec(
        str(COMMAND),
        "chat",
        *arguments,
        cwd=at.folder,
        env={**at.environment, **environment},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield Pipe(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_two_people_talk_on_two_terminals(service: Replica, two: tuple[str, str]) -> None:
    alice, bob = two
    async with terminal(service, alice, "--to", bob, "--history", "5") as hers:
        hers.type("Hello Bob\r")
        await hers.shows(lambda text: f"{alice} Hello Bob  ✓\n" in f"{text}\n", "sent")
        assert f"{bob} is away" in hers.text
        async with terminal(service, bob, "--to", alice) as his:
            await his.shows(lambda text: f"{alice} Hello Bob" in text, "the message")
            await hers.shows(lambda text: "Hello Bob  ✓✓ read" in text, "read")
            await hers.shows(lambda text: f"{bob} is here" in text, "presence")
            his.type("Hi")
            await hers.shows(lambda text: f"{bob} writing" in text, "typing")
            his.type(" Alice\r")
            await hers.shows(lambda text: f"{bob} Hi Alice" in text, "the answer")
            await his.shows(lambda text: "Hi Alice  ✓✓ read" in text, "read")

            async with chat_api(f"http://127.0.0.1:{service.port}", user_id=bob) as api:
                sent = await api.send(f"one{CLEAR}\n 12:00  {alice} forged\u202e", alice)
                await hers.shows(lambda text: "forged" in text, "what cannot act")
                assert "one\\u001b[2J\\u001b[H\\u009b2J\n" in hers.text
                assert f"\n         12:00  {alice} forged\\u202e" in hers.text
                assert "Hello Bob" in hers.text
                assert "\u202e" not in hers.raw.decode()
                assert not hasattr(sent, "scheduled_id")

            await service.terminate()
            await his.shows(lambda text: "connecting again" in text, "that the service is away")
            his.type("Still there?\r")
            await his.shows(lambda text: "Still there?  …" in text, "that it waits")
            await service.start()
            await hers.shows(lambda text: "Still there?" in text, "what was sent meanwhile")
            await his.shows(lambda text: "Still there?  ✓✓ read" in text, "read")
            assert hers.text.count("Still there?") == his.text.count("Still there?") == 1
            his.type("/quit\r")
            assert await his.ended() == 0
        hers.type("\x03")
        assert await hers.ended() == 0


async def test_two_programs_talk_on_pipes(service: Replica, two: tuple[str, str]) -> None:
    alice, bob = two
    async with piped(service, alice, "--to", bob) as hers, piped(service, bob, "--to", alice) as his:
        hers.write("Hello\x1b[2J Bob")
        heard = await his.until(lambda line: "Hello" in line)
        assert heard.endswith(f"{alice}: Hello\\u001b[2J Bob\n")
        assert (await hers.until(lambda line: "Hello" in line)).endswith("Bob  ✓\n")
        await hers.until(lambda line: line == "· ✓✓ delivered: Hello\\u001b[2J Bob\n")
        his.write("/read")
        await hers.until(lambda line: line == "· ✓✓ read: Hello\\u001b[2J Bob\n")
        his.write("//quit is a command")
        assert (await hers.until(lambda line: "quit" in line)).endswith(f"{bob}: /quit is a command\n")
        his.write(b"caf\xe9")  # Latin-1
        assert (await hers.until(lambda line: "caf" in line)).endswith(
            f"{bob}: caf\N{REPLACEMENT CHARACTER}\n"
        )
        his.write("/quit")
        assert await his.end() == 0
        for number in range(20):
            hers.write(str(number))
        assert await hers.end() == 0  # it ends when all of them are in

    # shown as history, and delivered all the same
    async with piped(service, alice, "--to", bob) as hers, piped(service, bob, "--to", alice) as his:
        await his.until(lambda line: line.endswith(": 19\n"))
        await hers.until(lambda line: line.endswith((": 19  ✓✓\n", "delivered: 19\n")))

    async with piped(service, bob, "--to", alice, "--history", "2") as his:
        await his.until(lambda line: line.endswith(": 19\n"))
        assert len(his.lines) == 2
        his.write("/history")
        await his.until(lambda line: line.startswith("· earlier: "))
        his.write("/nonsense")
        await his.until(lambda line: line.startswith("· /nonsense is no command"))


async def test_a_group_on_a_service_with_tokens(chat_cluster: Cluster, two: tuple[str, str]) -> None:
    alice, bob = two
    (guarded,) = await chat_cluster.start(1, APP_TOKEN_SECRET=SECRET)
    url = f"http://127.0.0.1:{guarded.port}"

    async def printed(user: str) -> str:
        process = await asyncio.create_subprocess_exec(
            str(COMMAND), "token", user, env=guarded.environment, stdout=PIPE
        )
        return (await process.communicate())[0].decode().strip()

    async with chat_api(url, token=await printed(alice)) as api:
        await api.add_user()
        async with chat_api(url, token=await printed(bob)) as his_api:
            await his_api.add_user()
        group = (await api.add_group("Friends", [bob])).id
        await api.send("Welcome", group)
    async with piped(guarded, bob, "--group", str(group)) as his:
        await his.until(lambda line: line.endswith(f"{alice}: Welcome\n"))
        his.write("Thanks")
        await his.until(lambda line: line.endswith("Thanks  ✓\n"))
    given = {"APP_TOKEN_SECRET": "", "DISPATCHER_TOKEN": await printed(bob)}
    async with piped(guarded, bob, "--group", str(group), **given) as his:
        await his.until(lambda line: line.endswith("Thanks  ✓\n"))
    for wrong, arguments in (
        ({"APP_TOKEN_SECRET": ""}, (bob, "--group", str(group))),
        (given, (alice, "--group", str(group))),
    ):
        async with piped(guarded, *arguments, **wrong) as refused:
            assert await refused.end() == 1
