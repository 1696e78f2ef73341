"""What a logged exception tells: where it happened, and nothing that the code was holding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SECRET = "s3cret-in-a-local-variable"
PROGRAM = """
import logging, pathlib, sys, structlog
from dispatcher.kernel.log_files import LogFiles
from dispatcher.kernel.logging import configure_logging

files = LogFiles(pathlib.Path(sys.argv[2]))
configure_logging(level="INFO", env=sys.argv[1], service="s", version="1", replica="r", files=files)

def fails(key: str) -> None:
    held = {"key": key}
    raise ValueError("no")

try:
    fails(sys.stdin.read())
except ValueError:
    structlog.get_logger().exception("ours_failed")
    logging.getLogger("a.library").exception("theirs_failed")
logging.getLogger("httpx2").info("HTTP Request: GET https://user:%s@host/keys", sys.argv[3])
"""


@pytest.mark.parametrize("env", ["local", "dev", "production"])
def test_a_traceback_shows_no_local_variables(env: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, env, str(tmp_path), SECRET],
        input=SECRET,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={"PATH": os.defpath},
    )
    texts = [ran.stderr, *(path.read_text() for path in tmp_path.iterdir())]
    assert len(texts) == 3  # standard error, the log, the log of errors
    for said in ("ours_failed", "theirs_failed", "ValueError: no", "in fails"):
        for text in texts:
            assert said in text
    assert not any(SECRET in text for text in texts)


CLOSED = """
import pathlib, sys, structlog
from dispatcher.kernel.log_files import LogFiles
from dispatcher.kernel.logging import configure_logging

assert sys.stderr is None
files = LogFiles(pathlib.Path(sys.argv[2]))
configure_logging(level="INFO", env=sys.argv[1], service="s", version="1", replica="r", files=files)
structlog.get_logger().info("said")
"""


@pytest.mark.parametrize("env", ["local", "production"])
def test_a_standard_error_that_is_closed_ends_nothing(env: str, tmp_path: Path) -> None:
    command = ["sh", "-c", '"$@" 2>&-', "sh", sys.executable, "-c", CLOSED, env, str(tmp_path)]
    subprocess.run(command, check=True, timeout=30)
    (path,) = tmp_path.iterdir()
    assert "said" in path.read_text()
