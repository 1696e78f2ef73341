"""/start and /stop under all their names, the scheduler's state, and the history of ticks."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from dispatcher.delivery import ticks
from dispatcher.delivery.state import SchedulerState
from dispatcher.delivery.switches import Switches
from dispatcher.kernel.db import Pool
from dispatcher.kernel.web import BODY_PROBLEMS, PROBLEMS, BoundedRoute


class Switched(BaseModel):
    """The answer of every route that starts or stops."""

    status: Literal["Started", "Stopped"]
    scheduler: SchedulerState


class PoolState(BaseModel):
    """What PUT /worker-pool/state takes."""

    state: Literal["start", "pause"] = Field(examples=["pause"])


class TickView(BaseModel):
    """What one tick did."""

    no: int = Field(examples=[41])
    due_at: datetime
    claimed_at: datetime = Field(description="When a replica began to work it off.")
    late_ms: float = Field(description="claimed_at - due_at.", examples=[0.8])
    finished_at: datetime | None = Field(description="None while it is worked off, or if its replica died.")
    replica: str
    rate_limit: int
    interval_seconds: float
    waiting: int = Field(description="Ticks that were due when it was claimed, itself included.")
    dropped: int = Field(description="Missed ticks given up just before it.")
    claimed: int
    sent: int
    retried: int
    failed: int
    uncertain: int


LaneName = Annotated[str | None, Query(description="Only this lane; without it, all of them.")]


def delivery_routes(pool: Pool, switches: Switches) -> APIRouter:
    """The routes of the lanes' schedules."""
    router = APIRouter(tags=["scheduler"], responses=PROBLEMS, route_class=BoundedRoute)

    async def started(lane: str | None = None) -> Switched:
        return Switched(status="Started", scheduler=await switches.start(lane))

    async def stopped(lane: str | None = None) -> Switched:
        return Switched(status="Stopped", scheduler=await switches.stop(lane))

    @router.post("/start", summary="Start sending, on every replica")
    async def post_start(lane: LaneName = None) -> Switched:
        """Idempotent. The next tick is due at once, but never sooner than one interval after the last one."""
        return await started(lane)

    @router.post("/stop", summary="Stop sending, on every replica")
    async def post_stop(lane: LaneName = None) -> Switched:
        """Idempotent. Once this has answered, no replica claims another message; what was claimed is finished."""
        return await stopped(lane)

    @router.get("/process_message", summary="The same switch, under the name other clients use")
    async def process_message(command: Annotated[Literal["start", "stop"], Query()]) -> Switched:
        """See /start and /stop."""
        return await (started() if command == "start" else stopped())

    @router.put(
        "/worker-pool/state",
        summary="The same switch, under the name other clients use",
        responses=BODY_PROBLEMS,
    )
    async def worker_pool_state(wanted: PoolState) -> Switched:
        """`pause` is /stop."""
        return await (started() if wanted.state == "start" else stopped())

    @router.get("/scheduler", summary="The scheduler's state")
    async def scheduler(
        lane: Annotated[str | None, Query(description="Of this lane; without it, of the webhook's.")] = None,
    ) -> SchedulerState:
        """The same whichever replica is asked."""
        return await switches.state(lane)

    @router.get("/ticks", summary="What each tick did, newest first")
    async def recent_ticks(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[
            int | None, Query(ge=0, lt=2**63, description="Only ticks below this number.")
        ] = None,
    ) -> list[TickView]:
        """The latest 10,000 are kept."""
        rows = await ticks.recent(pool, switches.ticking.name, limit=limit, before=before)
        return [
            TickView(
                **{name: row[name] for name in TickView.model_fields if name in row},
                late_ms=round((row["claimed_at"] - row["due_at"]).total_seconds() * 1000, 3),
                interval_seconds=row["tick_interval"].total_seconds(),
            )
            for row in rows
        ]

    return router
