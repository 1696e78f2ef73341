"""Servers that outlived the process that started them: found by the name they carry, stopped before a new start."""

import os
import signal

import psutil
import structlog

from dispatcher.embedded.errors import EmbeddedError
from dispatcher.kernel.clock import elapsed, pause

log = structlog.get_logger()

CLEAN_SECONDS = 10.0
KILL_SECONDS = 5.0
_LOOK_AGAIN = 0.05


def living(program: str, tag: str, uids: set[int]) -> list[psutil.Process]:
    """The processes of this program, of these users, whose command line carries the tag.

    The command line and not the working folder, which root in a container may not read of another user's
    process. A server's tag is there from its first to its last moment, also in the titles Postgres gives
    its backends, which outlive a killed postmaster for a while.
    """
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if (
                process.name() == program
                and process.uids().real in uids
                and tag in " ".join(process.cmdline())
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
        except psutil.Error:  # ended, or not ours, while we looked
            continue
    return found


async def stop_leftovers(program: str, tag: str, uid: int, clean: signal.Signals) -> None:
    """Wait until none is left: cleanly for ten seconds, then by SIGKILL."""
    uids = {uid, os.geteuid()}
    found = living(program, tag, uids)
    if not found:
        return
    log.warning("embedded_leftovers", program=program, pids=[process.pid for process in found])
    # The clean stop goes to the postmaster, which ends its backends. Backends whose postmaster is dead end at
    # SIGTERM, even in the middle of a long query, where they would not notice it themselves.
    main = [process for process in found if not _is_backend(process)]
    for process in main or found:
        _send(process, clean if main else signal.SIGTERM)
    if await _gone(program, tag, uids, CLEAN_SECONDS):
        return
    for process in living(program, tag, uids):
        log.warning("embedded_leftover_killed", program=program, pid=process.pid)
        _send(process, signal.SIGKILL)
    if not await _gone(program, tag, uids, KILL_SECONDS):
        pids = [process.pid for process in living(program, tag, uids)]
        raise EmbeddedError(
            f"an earlier {program} does not end (pids {pids}); end it, or set another APP_DATA_DIR"
        )


async def _gone(program: str, tag: str, uids: set[int], seconds: float) -> bool:
    until = elapsed() + seconds
    while living(program, tag, uids):
        if elapsed() > until:
            return False
        await pause(_LOOK_AGAIN)
    return True


def _is_backend(process: psutil.Process) -> bool:
    try:
        return any(part.startswith("postgres: ") for part in process.cmdline()[:1])
    except psutil.Error:
        return True


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as error:
        raise EmbeddedError(
            f"a server of this data folder still runs as another user (pid {process.pid}); "
            "end it, or set another APP_DATA_DIR"
        ) from error
