"""GET /health: what works, what does not, and why nothing is sent when nothing is."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from dispatcher.delivery import schedule
from dispatcher.delivery.state import SchedulerState, scheduler_model
from dispatcher.delivery.switches import Switches
from dispatcher.kernel.api_key import ApiKey
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import UNAVAILABLE, Pool
from dispatcher.kernel.errors import UnavailableError
from dispatcher.kernel.etcd import EtcdDirectory
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.live_config.follow import LiveConfigFollower
from dispatcher.live_config.model import shown

PROBE_SECONDS = 1.0


class Part(BaseModel):
    """One thing that this service stands on."""

    status: Literal["up", "down"]
    problem: str | None = None


class LiveConfigHealth(BaseModel):
    """The live configuration in force."""

    revision: int | None = Field(
        description="The etcd revision it was read at; None before any etcd was seen."
    )
    values: dict[str, Any] = Field(
        description="Secrets are `(set)`; the webhook's address is its origin alone."
    )
    sources: dict[str, str] = Field(description="Per key: etcd, file or default.")
    refused: dict[str, str] = Field(
        description="Keys whose etcd value is refused, and why. Their old value stays."
    )
    etcd_came_back_empty: bool = Field(description="etcd lost its data; the last good values stay in force.")


class Works(BaseModel):
    """`healthy`; `unhealthy` without Postgres; `degraded` without Redis or etcd, or with something to look after.

    That is a refused live value, or a target that fails so that the lane has paused.
    """

    status: Literal["healthy", "degraded", "unhealthy"]
    postgres: Part
    redis: Part
    etcd: Part
    upkeep: Part = Field(description="Days of results made ahead of time, and old ones dropped.")
    console: Part = Field(description="Where the console lane of this replica prints: standard output.")
    tokens: Part = Field(
        description="What users' tokens are judged by: keys that are published may be missing."
    )


class Health(Works):
    """The same with everything that there is to say: for the operator."""

    service: str
    version: str
    replica: str
    uptime_seconds: float
    scheduler: SchedulerState | None
    live_config: LiveConfigHealth


def health_routes(
    *,
    identity: Mapping[str, str],
    pool: Pool,
    redis: BoundedRedis,
    etcd: EtcdDirectory,
    follower: LiveConfigFollower,
    switches: Switches,
    others: Mapping[str, Callable[[], str | None]],
    key: ApiKey | None,
) -> APIRouter:
    """GET /health over these parts; `others` say what is wrong with them, or nothing.

    `identity` holds service, version and replica. Where there is a `key`, who does not have it hears what works, and no more.
    """
    router = APIRouter(tags=["health"])
    began = elapsed()
    probe = _PostgresProbe(pool, switches.ticking.name, switches.ticking.blocked)

    @router.get(
        "/health",
        summary="What works and what does not",
        responses={
            503: {
                "model": Health | Works,
                "description": "Postgres is gone: nothing is sent, nothing is lost.",
            }
        },
    )
    async def health(request: Request, response: Response) -> Health | Works:
        """200 when messages can be delivered, even if `degraded`; 503 when they cannot, because Postgres is gone.

        Where an operator's key is set, why a part is down, and all but the parts, is for those who send it.
        """
        (postgres, seen), redis_problem = await asyncio.gather(probe.look(), redis.probe())
        parts = {
            "postgres": postgres,
            "redis": _part(redis_problem),
            "etcd": _part(etcd.problem),
            **{name: _part(problem()) for name, problem in others.items()},
        }
        degraded = (
            any(part.status == "down" for part in parts.values())
            or follower.refused
            or follower.emptied
            or (seen is not None and seen.target_paused)
        )
        if postgres.status == "down":
            response.status_code = 503
        works = Works(
            status="unhealthy" if postgres.status == "down" else "degraded" if degraded else "healthy",
            **parts,
        )
        if key is not None and not key.given_in(request.headers.raw):
            states = {name: Part(status=part.status) for name, part in parts.items()}
            return works.model_copy(update=states)
        return Health(
            **dict(works),
            **identity,
            uptime_seconds=round(elapsed() - began, 1),
            scheduler=seen,
            live_config=_live_config(follower),
        )

    return router


def _live_config(follower: LiveConfigFollower) -> LiveConfigHealth:
    snapshot = follower.live.snapshot
    return LiveConfigHealth(
        revision=snapshot.origin.revision if snapshot.origin else None,
        values=shown(snapshot.value),
        sources=follower.sources(),
        refused=dict(follower.refused),
        etcd_came_back_empty=follower.emptied,
    )


class _PostgresProbe:
    """Asks Postgres, and answers in time also when Postgres does not: asyncpg holds a cancelled statement back."""

    def __init__(self, pool: Pool, lane: str, blocked: Callable[[], str | None]) -> None:
        self._pool = pool
        self._blocked = blocked
        self._lane = lane
        self._unanswered: asyncio.Task[tuple[Part, SchedulerState | None]] | None = None

    async def look(self) -> tuple[Part, SchedulerState | None]:
        """What Postgres says of itself and of the lane; down when it says nothing within a second."""
        asking = self._unanswered  # while a question is open nobody asks another one
        if asking is None or asking.done():
            asking = asyncio.create_task(self._ask())
        answered, _ = await asyncio.wait({asking}, timeout=PROBE_SECONDS)
        if answered:
            return asking.result()
        self._unanswered = asking
        return _part(f"no answer within {PROBE_SECONDS:g} s"), None

    async def _ask(self) -> tuple[Part, SchedulerState | None]:
        try:
            # on also in a standby, and where default_transaction_read_only is
            if await self._pool.fetchval("SELECT current_setting('transaction_read_only')") == "on":
                problem = "read-only: it takes no writes, so nothing can be claimed or settled"
            else:
                problem = None
            seen = await schedule.look(self._pool, self._lane)
            return _part(problem), scheduler_model(seen, blocked_here=self._blocked())
        except UnavailableError:
            return _part(None), None
        except UNAVAILABLE as error:
            return _part(str(error) or type(error).__name__), None


def _part(problem: str | None) -> Part:
    return Part(status="up" if problem is None else "down", problem=problem)
