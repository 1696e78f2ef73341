"""Every fault: it strikes, lasts as long as the dice say, and is over. `verdict.py` says what each of them excuses."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from tests.chaos.stage import LEASE_SECONDS, TIMEOUT_SECONDS, Node, Stage
from tests.chaos.verdict import GIVE_UP_SECONDS, RETRY_SECONDS, WIRE_SECONDS, Disturbance

from dispatcher.embedded.servers import EmbeddedServer
from dispatcher.kernel.clock import elapsed, pause


@dataclass(frozen=True, slots=True)
class Struck:
    """What one fault did."""

    over: float
    """When the world was whole again."""
    detail: str
    disturbance: Disturbance | None = None


Strike = Callable[[Stage, random.Random], Awaitable[Struck]]
FAULTS: dict[str, Strike] = {}
"""Each fault by the name that tables show."""
FAILING = "receiver fails"


def fault(name: str) -> Callable[[Strike], Strike]:
    """Enter a fault under its name."""

    def enter(strike: Strike) -> Strike:
        FAULTS[name] = strike
        return strike

    return enter


def victims(stage: Stage, dice: random.Random) -> Sequence[Node]:
    """Mostly one replica, sometimes all of them."""
    return dice.sample(stage.nodes, dice.choice([1, 1, 1, len(stage.nodes)]))


def names(nodes: Sequence[Node]) -> frozenset[str]:
    return frozenset(node.name for node in nodes)


def said(nodes: Sequence[Node]) -> str:
    """The nodes for people."""
    return ", ".join(sorted(names(nodes)))


@fault("SIGKILL")
async def kill(stage: Stage, dice: random.Random) -> Struck:
    struck, began = victims(stage, dice), elapsed()
    await asyncio.gather(*(node.replica.kill() for node in struck))
    gone = elapsed()
    await pause(dice.uniform(0, 1))
    for node in struck:
        await node.replica.launch()
    over = elapsed()
    await asyncio.gather(*(node.replica.answers() for node in struck))
    return Struck(over, said(struck), Disturbance("SIGKILL", names(struck), began, gone + WIRE_SECONDS))


@fault("SIGSTOP")
async def stop(stage: Stage, dice: random.Random) -> Struck:
    struck, began = victims(stage, dice), elapsed()
    for node in struck:
        node.replica.send(signal.SIGSTOP)
    await pause(LEASE_SECONDS + dice.uniform(0.1, 1.5))
    for node in struck:
        node.replica.send(signal.SIGCONT)
    over = elapsed()
    return Struck(over, said(struck), Disturbance("SIGSTOP", names(struck), began, over + WIRE_SECONDS))


@fault("Postgres restart")
async def restart_postgres(stage: Stage, dice: random.Random) -> Struck:
    return await _postgres_away(stage, dice, "Postgres restart", kill_it=False)


@fault("Postgres kill -9")
async def kill_postgres(stage: Stage, dice: random.Random) -> Struck:
    return await _postgres_away(stage, dice, "Postgres kill -9", kill_it=True)


async def _postgres_away(stage: Stage, dice: random.Random, name: str, *, kill_it: bool) -> Struck:
    began = elapsed()
    await _restart(stage.cluster.servers.postgres, away=dice.uniform(0, 1.5), kill_it=kill_it)
    over = elapsed()
    return Struck(
        over,
        f"{over - began:.1f} s away",
        Disturbance(name, names(stage.nodes), began, over + RETRY_SECONDS),
    )


@fault("backends terminated")
async def terminate_connections(stage: Stage, dice: random.Random) -> Struck:
    times, ended = dice.randint(1, 3), 0
    for _ in range(times):
        ended += await stage.cluster.pool.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'dispatcher %'"
        )
        await pause(dice.uniform(0, 0.3))
    return Struck(elapsed(), f"{ended} of them, in {times} goes")


@fault("Redis kill")
async def kill_redis(stage: Stage, dice: random.Random) -> Struck:
    await _restart(stage.cluster.servers.redis, away=dice.uniform(0.2, 2.0), kill_it=True)
    return Struck(elapsed(), "")


@fault("Redis FLUSHALL")
async def flush_redis(stage: Stage, dice: random.Random) -> Struck:
    times = dice.randint(1, 3)
    async with Redis.from_url(stage.cluster.redis_url) as connection:
        for _ in range(times):
            await connection.flushall()
            await pause(dice.uniform(0, 0.3))
    return Struck(elapsed(), f"{times} times")


@fault("etcd kill")
async def kill_etcd(stage: Stage, dice: random.Random) -> Struck:
    await _restart(stage.cluster.servers.etcd, away=dice.uniform(0.2, 2.0), kill_it=True)
    return Struck(elapsed(), "")


async def _restart(server: EmbeddedServer | None, *, away: float, kill_it: bool) -> None:
    assert server is not None
    await server.stop(kill=kill_it)
    await pause(away)
    await server.start()


@fault("webhook path dead")
async def cut_webhook(stage: Stage, dice: random.Random) -> Struck:
    struck, late, began = victims(stage, dice), dice.random() < 0.5, elapsed()
    for node in struck:
        node.webhook.cut()
    await pause(TIMEOUT_SECONDS + dice.uniform(0.1, 1.0))
    for node in struck:
        node.webhook.heal(late=late)
    over = elapsed()
    return Struck(
        over,
        _cut(struck, late=late),
        Disturbance("webhook path dead", names(struck), began, over + WIRE_SECONDS),
    )


@fault("Postgres path dead")
async def cut_postgres(stage: Stage, dice: random.Random) -> Struck:
    struck, late, began = victims(stage, dice), dice.random() < 0.5, elapsed()
    for node in struck:
        node.postgres.cut()
    await pause(dice.uniform(0.5, LEASE_SECONDS + 1))
    for node in struck:
        node.postgres.heal(late=late)
    over = elapsed()
    end = over + (RETRY_SECONDS if late else GIVE_UP_SECONDS)
    return Struck(over, _cut(struck, late=late), Disturbance("Postgres path dead", names(struck), began, end))


def _cut(struck: Sequence[Node], *, late: bool) -> str:
    return f"{said(struck)}; what was held {'arrives late' if late else 'is gone'}"


@fault(FAILING)
async def fail_receiver(stage: Stage, dice: random.Random) -> Struck:
    stage.moods.failing = True
    await pause(dice.uniform(1.0, 2.5))
    stage.moods.failing = False
    return Struck(elapsed(), "")
