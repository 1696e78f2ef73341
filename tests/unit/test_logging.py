"""What a logged exception tells: where it happened, and nothing that the code was holding."""

import os
import subprocess
import sys

import pytest

SECRET = "s3cret-in-a-local-variable"
PROGRAM = """
import logging, sys, structlog
from dispatcher.kernel.logging import configure_logging

configure_logging(level="INFO", env=sys.argv[1], service="s", version="1", replica="r")

def fails(key: str) -> None:
    held = {"key": key}
    raise ValueError("no")

try:
    fails(sys.stdin.read())
except ValueError:
    structlog.get_logger().exception("ours_failed")
    logging.getLogger("a.library").exception("theirs_failed")
"""


@pytest.mark.parametrize("env", ["local", "dev", "production"])
def test_a_traceback_shows_no_local_variables(env: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, env],
        input=SECRET,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={"PATH": os.defpath},
    )
    for said in ("ours_failed", "theirs_failed", "ValueError: no", "in fails"):
        assert said in ran.stderr
    assert SECRET not in ran.stderr
