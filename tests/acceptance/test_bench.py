"""The programs behind docs/benchmarks.md, at sizes that measure nothing: each runs to its end and says its figures.

Without these, whoever changes a statement, or what the API asks of a request, breaks them and does not notice.
`bench.lateness` is not here: it takes most of a minute at any size.
"""

import asyncio
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SECONDS = 180


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("dispatch --rounds 1 --count 200", r"dispatcher +│ +\d"),
        ("peers --rounds 1 --count 200 --only bare", r"bare loop +\d"),
        ("ingest --rounds 1 --count 100 --rows 1000", r"dispatcher send +│ +\d"),
        ("idle --seconds 0.5", r"at rest .* of a core, \d+ MiB"),
        ("flat_cost --pending 2000 --sent 3000", r"2,000 / 0 / 3,000 +\d"),
        ("held_snapshot --free 1 --held 1", r"held ÷ before: \d"),
        ("chat_core --conversations 5 --each 60 --rounds 1 --seconds 0.2", r"newest +\d"),
        ("chat_live --sockets 4 --rate 20 --seconds 1 --shouts 2", r"4 idle sockets: \d"),
        ("chat_tail --conversations 5 --each 60 --operations 40", r"yes +\d+%"),
    ],
)
async def test_a_benchmark_runs_to_its_end(tmp_path: Path, arguments: str, says: str) -> None:
    output = tmp_path / "output"
    with output.open("w") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *f"bench.{arguments}".split()),
            cwd=REPOSITORY,
            env={"PATH": os.defpath, "HOME": str(tmp_path), "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), SECONDS)
    finally:
        with suppress(ProcessLookupError):  # all that it started with it
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    said = output.read_text()
    assert process.returncode == 0, said
    assert re.search(says, said), said
