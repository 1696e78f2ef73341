"""What waits to be written, and what is no longer worth it."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from dispatcher.kernel.errors import UnavailableError
from dispatcher.kernel.gathering import Gathering
from dispatcher.kernel.lifecycle import background


def of(
    write: Callable[[Sequence[str]], Coroutine[Any, Any, Sequence[str]]], *, seconds: float
) -> Gathering[str, str]:
    return Gathering(
        write,
        key=lambda _: None,
        seconds=seconds,
        overloaded="not in",
        unknown="perhaps in",
        failed=lambda *_: None,
    )


async def test_what_nobody_waits_for_any_more_is_not_written() -> None:
    written: list[Sequence[str]] = []
    writing, free = asyncio.Event(), asyncio.Event()

    async def write(batch: Sequence[str]) -> Sequence[str]:
        written.append(batch)
        writing.set()
        await free.wait()
        return batch

    gathering = of(write, seconds=60)
    async with background("gathering", gathering.run):
        first, second, third = (asyncio.create_task(gathering.add(piece)) for piece in ("1", "2", "3"))
        await writing.wait()
        assert written == [["1", "2", "3"]]
        fourth, fifth = (asyncio.create_task(gathering.add(piece)) for piece in ("4", "5"))
        await asyncio.sleep(0)  # noqa: TID251 - until both are in
        fourth.cancel()
        free.set()
        assert [*await asyncio.gather(first, second, third, fifth)] == ["1", "2", "3", "5"]
    assert written[1:] == [["5"]]


async def test_what_has_waited_too_long_is_not_written_and_is_told_so() -> None:
    async def write(batch: Sequence[str]) -> Sequence[str]:
        raise AssertionError(batch)

    gathering = of(write, seconds=0)
    async with background("gathering", gathering.run):
        outcome = await gathering.add("1")
    assert isinstance(outcome, UnavailableError)
    assert outcome.detail == "not in"
