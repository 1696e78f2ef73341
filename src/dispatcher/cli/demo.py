"""`dispatcher demo`: the story that it tells."""

import asyncio
import sys
import tempfile
from pathlib import Path

from dispatcher import __version__
from dispatcher.cli.console import out
from dispatcher.cli.demo_report import report
from dispatcher.cli.demo_stage import DemoError, Stage, stage
from dispatcher.cli.demo_watch import HISTORY, Watch
from dispatcher.cli.interrupts import interrupts
from dispatcher.kernel.clock import elapsed, pause
from dispatcher.kernel.logging import configure_logging
from dispatcher.messages.insert import NewMessage, insert

MESSAGES = 400
QUIET_SECONDS = 2.5
"""How long is watched that nothing arrives: five intervals."""


def demo() -> None:
    """Watch it all in under a minute: two replicas, exact ticks, live retuning, a stop, a kill -9.

    Runs its own Postgres, Redis and etcd, a receiver and two services in a folder of its own, which is removed at
    the end; nothing of yours is touched. Ends with 0 if everything held that it shows, else with 1 and what did not.

    Examples:
      dispatcher demo
      make demo
    """
    configure_logging(level="ERROR", env="local", service="demo", version=__version__, replica="demo")
    asyncio.run(_demo())


async def _demo() -> None:
    began = elapsed()
    task = asyncio.current_task()
    assert task is not None
    async with interrupts() as interrupt:
        # Once "started", so that an interrupted demo, which has shown nothing, does not end with 0.
        interrupt.now_stop(lambda: _give_up(task))
        _say("Starting Postgres, Redis, etcd, a receiver, and two replicas of the service, A and B")
        # tempfile's own folder and not one below .dispatcher: a socket's path may have about 100 characters
        with tempfile.TemporaryDirectory(prefix="dispatcher-demo-") as folder:
            async with stage(Path(folder)) as stage_:
                out.print(
                    f"  A serves at {stage_.a.url}, B at {stage_.b.url} [dim]({elapsed() - began:.1f} s)[/]"
                )
                await _story(stage_, Watch(stage_))
            _say(f"Everything held. That took {elapsed() - began:.0f} s; now yours: make run")


def _give_up(task: "asyncio.Task[None]") -> None:
    task.cancel()


async def _story(stage_: Stage, watch: Watch) -> None:
    await watch.from_now_on()
    await watch.note_grid()
    await insert(
        stage_.pool, [NewMessage(f"+90555{number:07}", f"Message {number}") for number in range(MESSAGES)]
    )
    _say("Two messages a second, whichever replica is first; never both")
    await watch.ticks(6)
    await _retune(stage_, watch)
    await _stop_and_start(stage_, watch)
    await _kill(stage_, watch)
    await _refuse(stage_, watch)
    await _add_up(stage_, watch)


async def _retune(stage_: Stage, watch: Watch) -> None:
    _say("etcdctl put /app/config/scheduler_interval 0.5, and rate_limit 5: no restart")
    await stage_.put("scheduler_interval", "0.5")
    await stage_.put("rate_limit", "5")

    async def taken() -> bool:
        latest = (await watch.get("/ticks?limit=1"))[0]
        return bool(latest["rate_limit"] == 5 and latest["interval_seconds"] == 0.5)  # noqa: PLR2004 - as put above

    await watch.until("the new pace", taken)
    await watch.note_grid()
    await watch.ticks(9)


async def _stop_and_start(stage_: Stage, watch: Watch) -> None:
    _say("POST /stop to A: both stop")
    await watch.ask("POST", f"{stage_.a.url}/stop")
    await watch.nothing_in_flight()
    await watch.catch_up()
    before = await watch.arrived()
    await pause(QUIET_SECONDS)  # nothing can be waited for: that nothing happens is the point
    after = await watch.arrived()
    if after != before:
        raise DemoError(f"{after - before} messages arrived after /stop had answered")
    out.print(f"  nothing arrived for {QUIET_SECONDS:g} s")
    _say("POST /start to B: both go on")
    await watch.ask("POST", f"{stage_.b.url}/start")
    await watch.note_grid()
    await watch.ticks(4)


async def _kill(stage_: Stage, watch: Watch) -> None:
    watch.through = stage_.b
    # Right behind a tick, so that nothing is in flight: what is would go out again, with the same webhook-id.
    await watch.ticks(1)
    _say("kill -9 of A: B carries on, on the same grid")
    await stage_.a.kill()
    ticks = await watch.ticks(6)
    if any(tick["dropped"] for tick in ticks):
        raise DemoError("ticks were dropped after the kill")


async def _refuse(stage_: Stage, watch: Watch) -> None:
    _say("etcdctl put /app/config/rate_limit abc: refused, the old value stays")
    await stage_.put("rate_limit", "abc")

    async def refused() -> bool:
        return "rate_limit" in (await watch.get("/health"))["live_config"]["refused"]

    await watch.until("the bad value is refused", refused)
    live = (await watch.get("/health"))["live_config"]
    out.print(f"  /health: rate_limit: {live['refused']['rate_limit']}", markup=False)
    out.print(f"  still in force: rate_limit {live['values']['rate_limit']}")
    if live["values"]["rate_limit"] != 5:  # noqa: PLR2004 - as put before
        raise DemoError("a bad value changed rate_limit")
    await watch.ticks(2)


async def _add_up(stage_: Stage, watch: Watch) -> None:
    await watch.ask("POST", f"{stage_.b.url}/stop")
    await watch.nothing_in_flight()
    result = report(
        sent=await stage_.pool.fetchval("SELECT count(*) FROM messages WHERE sent_status"),
        arrivals=await watch.arrivals(),
        ticks=await watch.get(f"/ticks?limit={HISTORY}"),
        grids=watch.grids,
        letter=stage_.letter,
    )
    _say("What it adds up to")
    out.print(result.table())
    problem = result.problem()
    if problem is not None:
        raise DemoError(problem)


def _say(text: str) -> None:
    out.print(f"\n[bold green]▸[/] [bold]{text}[/]")
    sys.stdout.flush()
