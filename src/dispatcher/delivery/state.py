"""The schedule's state as people and other programs read it: in answers, in /health and in Redis."""

from datetime import datetime

from pydantic import BaseModel, Field

from dispatcher.delivery.pace import ticks_waiting
from dispatcher.delivery.schedule import Look


class SchedulerState(BaseModel):
    """The state of one lane's schedule, the same for every replica."""

    lane: str = Field(examples=["webhook"])
    running: bool = Field(description="What /start and /stop switch.")
    blocked: str | None = Field(description="Why nothing is sent although it runs, e.g. no webhook_url.")
    target_paused: bool = Field(
        description="The target fails: each tick until it answers is a probe with one message."
    )
    probes: int = Field(description="Probes made since the pause began.")
    rate_limit: int | None = Field(
        description="Messages per tick, over all replicas; None for a lane without ticks, as the next two.",
        examples=[2],
    )
    interval_seconds: float | None = Field(examples=[120.0])
    queue_capacity: int | None = Field(description="Missed ticks that are made up at most.", examples=[100])
    anchor_at: datetime = Field(description="Tick n is due at anchor_at + (n - anchor_no) * interval.")
    anchor_no: int
    next_tick_no: int
    next_tick_at: datetime | None = Field(
        description="None while nothing is sent, and for a lane without ticks."
    )
    last_tick_at: datetime | None = Field(description="When the tick claimed last was due.")
    ticks_waiting: int = Field(description="Ticks that are due and not claimed yet.")
    ticks_dropped: int = Field(description="Missed ticks given up so far.")
    version: int = Field(description="Counts the changes of this state.")


def scheduler_model(seen: Look, *, blocked_here: str | None = None) -> SchedulerState:
    """The state at one moment; `blocked_here` says why the replica that answers cannot send, if it cannot."""
    schedule = seen.schedule
    ticking = bool(schedule.pace.interval)
    return SchedulerState(
        lane=schedule.lane,
        running=schedule.running,
        blocked=schedule.pace.blocked or blocked_here,
        target_paused=schedule.active and schedule.probes > 0,
        probes=max(0, schedule.probes - 1),
        rate_limit=schedule.pace.rate_limit if ticking else None,
        interval_seconds=schedule.pace.interval.total_seconds() if ticking else None,
        queue_capacity=schedule.pace.queue_capacity if ticking else None,
        anchor_at=schedule.anchor_at,
        anchor_no=schedule.anchor_no,
        next_tick_no=schedule.next_no,
        next_tick_at=schedule.next_at if schedule.active and ticking else None,
        last_tick_at=schedule.last_at,
        ticks_waiting=ticks_waiting(schedule, seen.now),
        ticks_dropped=schedule.dropped_ticks,
        version=schedule.version,
    )


def scheduler_state(seen: Look) -> dict[str, object]:
    """The same as plain JSON values."""
    return scheduler_model(seen).model_dump(mode="json")
