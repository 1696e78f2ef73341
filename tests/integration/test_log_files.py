"""Log files under several real processes: over rollovers, while they are zipped, on a full disk, without a directory."""

import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Timer
from threading import enumerate as enumerate_threads

import pytest
from structlog.testing import capture_logs
from tests.acceptance.replica import eventually
from tests.integration.log_writer import TURNS, SharedClock

from dispatcher.kernel import log_upkeep
from dispatcher.kernel.log_archive import Archived, archive
from dispatcher.kernel.log_files import LogFiles
from dispatcher.kernel.log_names import ERRORS, EVERYTHING
from dispatcher.kernel.log_upkeep import kept_up

WRITER = Path(__file__).with_name("log_writer.py")
MIDNIGHT = datetime(2026, 11, 25, tzinfo=UTC)
DAY = MIDNIGHT.date()
ANSWER_SECONDS = 60.0
"""More than the longest test of a writer takes on a busy machine."""
Writer = subprocess.Popen[str]


@pytest.fixture
def clock(tmp_path: Path) -> SharedClock:
    (tmp_path / "clock").write_bytes(int(MIDNIGHT.timestamp() - 10).to_bytes(8, "little") + bytes(8))
    return SharedClock(tmp_path / "clock")


@contextmanager
def writer(folder: Path, name: str, lines: int = -1) -> Iterator[Writer]:
    """A writer that has written its first line."""
    command = [sys.executable, str(WRITER), str(folder), name, str(lines)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            assert answer(process) == "ready"
            yield process
        finally:
            process.kill()


def answer(process: Writer) -> str:
    """The next line it prints, but for what it logs about zipping, which happens at any time."""
    assert process.stdout is not None
    patience = Timer(ANSWER_SECONDS, process.kill)
    patience.start()
    try:
        line = next((line.strip() for line in process.stdout if "log_files_kept" not in line), None)
    finally:
        patience.cancel()
    assert line is not None, "it has ended, or it said nothing for too long"
    return line


def order(process: Writer, text: str = "write") -> None:
    assert process.stdin is not None
    print(text, file=process.stdin, flush=True)


def finished(process: Writer) -> int:
    """How many lines it says it has written."""
    assert process.stdin is not None
    process.stdin.close()
    return int(answer(process))


def found(logs: Path, stem: str) -> list[str]:
    """Every line of this kind, of logs and archives; none of them torn."""
    texts = [path.read_text() for path in logs.glob(f"{stem}-20*.log")]
    for path in logs.glob(f"{stem}-20*.zip"):
        with zipfile.ZipFile(path) as inside:
            texts += [inside.read(name).decode() for name in inside.namelist()]
    lines = [line for text in texts for line in text.splitlines()]
    assert all(re.fullmatch(r"\w+ \d+ \.*\|", line) for line in lines if line.strip())
    return [line.partition(" .")[0].removesuffix(" |") for line in lines if line.strip()]


def archived(logs: Path, today: date, *, keep_days: int = 3650) -> Archived:
    return archive(logs, today=today, keep_days=keep_days, rest=lambda: False)


@pytest.mark.usefixtures("clock")
def test_no_line_is_lost_torn_or_doubled_over_rollovers_of_several_processes(tmp_path: Path) -> None:
    lines, logs = 2400, tmp_path / "logs"
    with ExitStack() as stack:
        others = {name: stack.enter_context(writer(tmp_path, name, 0)) for name in ("b", "c", "d")}
        turner = stack.enter_context(writer(tmp_path, "a", lines))
        written = {name: finished(process) for name, process in {"a": turner, **others}.items()}
    assert written["a"] >= lines
    assert min(written.values()) > TURNS

    last = DAY + timedelta(days=TURNS // 4 - 1)
    for stem in (EVERYTHING, ERRORS):
        days = {f"{stem}-{DAY + timedelta(days=day - 1)}" for day in range(TURNS // 4)}
        assert {path.stem for path in logs.glob(f"{stem}-20*.zip")} >= days
    for today in (last, last + timedelta(days=9)):
        assert Counter(found(logs, EVERYTHING)) == {
            f"{name} {n}": 1 for name in written for n in range(written[name])
        }
        assert Counter(found(logs, ERRORS)) == {
            f"{name} {n}": 1 for name in written for n in range(0, written[name], 10)
        }
        archived(logs, today)
    assert not [path.name for path in logs.iterdir() if path.suffix != ".zip"]


async def test_a_process_stopped_over_midnight_keeps_its_file_from_the_archive(
    tmp_path: Path, clock: SharedClock
) -> None:
    logs = tmp_path / "logs"
    yesterday = logs / "dispatcher-2026-11-24.log"
    with writer(tmp_path, "a") as process:
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)  # noqa: ASYNC222 - at once: it has been told to stop
        clock.turn(60)
        assert archived(logs, DAY) == Archived([], [])
        order(process)  # which it reads when it goes on
        assert yesterday.read_text() == "a 0 |\n"

        process.send_signal(signal.SIGCONT)
        assert answer(process) == "done"

        async def gone() -> bool:
            return not yesterday.exists()

        await eventually(gone, seconds=5, what="the file of the day that is over is zipped")
        assert (logs / "dispatcher-2026-11-25.log").read_text().startswith("a 1 ")
        assert finished(process) == 2
    assert sorted(found(logs, EVERYTHING)) == ["a 0", "a 1"]


async def test_an_idle_process_lets_go_of_yesterday(tmp_path: Path, clock: SharedClock) -> None:
    with writer(tmp_path, "a"):
        clock.turn(60)

        async def zipped() -> bool:
            return {path.name for path in (tmp_path / "logs").iterdir()} == {
                "dispatcher-2026-11-24.zip",
                "dispatcher-errors-2026-11-24.zip",
            }

        await eventually(zipped, seconds=5, what="all that it has written is zipped")


RACED = """
import fcntl, os, sys
from pathlib import Path
from dispatcher.kernel.log_files import LogFiles

logs, held = Path(sys.argv[1]), []
now = before = 1795564799

def hook(event, arguments):
    global now
    if event == "fcntl.flock" and now == before:
        now += 1
        (path,) = logs.iterdir()
        if sys.argv[2] == "deleted":
            path.unlink()
        else:
            held.append(os.open(path, os.O_RDONLY))
            fcntl.flock(held[0], fcntl.LOCK_EX)

sys.addaudithook(hook)
LogFiles(logs, seconds=lambda: now).write("a 0 |", error=False)
"""


@pytest.mark.parametrize("what", ["deleted", "locked"])
def test_a_file_that_the_archive_takes_between_opening_and_locking_is_not_written_to(
    tmp_path: Path, what: str
) -> None:
    logs = tmp_path / "logs"
    ran = subprocess.run(
        [sys.executable, "-c", RACED, str(logs), what], check=True, capture_output=True, timeout=30
    )
    assert ran.stdout == b""
    assert (logs / "dispatcher-2026-11-25.log").read_text() == "a 0 |\n"
    assert (logs / "dispatcher-2026-11-24.log").exists() == (what == "locked")
    assert found(logs, EVERYTHING) == ["a 0"]


DIES = """
import os, sys
from datetime import date
from pathlib import Path
from dispatcher.kernel import log_upkeep
from dispatcher.kernel.log_archive import archive

def dies(logs, left):
    def hook(event, arguments):
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "fcntl.flock"):
            left -= 1
            if left < 0:
                os._exit(9)
    sys.addaudithook(hook)
    archive(logs, today=date(2026, 11, 25), keep_days=30, rest=lambda: False)
    os._exit(0)

for step in range(100):
    logs = Path(sys.argv[1], str(step))
    logs.mkdir(parents=True)
    (logs / "dispatcher-2026-11-24.log").write_text("a 0 |\\na 1 |\\n")
    child = os.fork() or dies(logs, step)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
"""


def test_an_archive_that_dies_at_any_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", DIES, str(tmp_path / "steps")], check=True, timeout=30)
    left_behind = set()
    for logs in (tmp_path / "steps").iterdir():
        left_behind.add(tuple(sorted(path.name for path in logs.iterdir())))
        archived(logs, DAY)
        assert [path.name for path in logs.iterdir()] == ["dispatcher-2026-11-24.zip"]
        assert found(logs, EVERYTHING) == ["a 0", "a 1"]
    assert left_behind == {
        ("dispatcher-2026-11-24.log",),
        ("dispatcher-2026-11-24.log", "dispatcher-2026-11-24.zip.part"),
        ("dispatcher-2026-11-24.log", "dispatcher-2026-11-24.zip"),
        ("dispatcher-2026-11-24.zip",),
    }


def test_a_log_that_goes_on_after_it_was_zipped(tmp_path: Path) -> None:
    path = tmp_path / "dispatcher-2026-11-24.log"
    path.write_text("a 0 |\n")
    assert archived(tmp_path, DAY).zipped == ["dispatcher-2026-11-24.zip"]
    path.write_text("a 0 |\na 1 |\n")  # the archive died before it deleted the log, and somebody appended
    assert archived(tmp_path, DAY).zipped == ["dispatcher-2026-11-24.zip"]
    path.write_text("b 0 |\nb 1 |\nb 2 |\n")  # somebody came late, and began a new one
    assert archived(tmp_path, DAY).zipped == ["dispatcher-2026-11-24.2.zip"]
    path.touch()
    assert archived(tmp_path, DAY).zipped == []
    assert sorted(found(tmp_path, EVERYTHING)) == ["a 0", "a 1", "b 0", "b 1", "b 2"]
    assert not path.exists()


STOLEN = """
import sys
from datetime import date
from pathlib import Path
from dispatcher.kernel import log_upkeep
from dispatcher.kernel.log_archive import archive

log, raced = Path(sys.argv[1], "dispatcher-2026-11-24.log"), False

def hook(event, arguments):
    global raced
    if event == "fcntl.flock" and not raced:
        raced = True
        log.unlink()
        log.write_text("b 0 |\\n")

sys.addaudithook(hook)
archive(log.parent, today=date(2026, 11, 25), keep_days=30, rest=lambda: False)
"""


def test_a_log_that_another_archive_takes_and_somebody_begins_anew_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "dispatcher-2026-11-24.log"
    path.write_text("a 0 |\n")
    subprocess.run([sys.executable, "-c", STOLEN, str(tmp_path)], check=True, timeout=30)
    assert path.read_text() == "b 0 |\n"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_at_its_end_a_process_lets_go_of_its_files(tmp_path: Path, clock: SharedClock) -> None:
    files = LogFiles(tmp_path, seconds=clock.now)
    with kept_up(files, keep_days=3650):
        files.write("a 0 |", error=False)
    assert archived(tmp_path, DAY).zipped == ["dispatcher-2026-11-24.zip"]


def test_what_several_append_to_one_file_stands_in_it_in_turn(tmp_path: Path, clock: SharedClock) -> None:
    logs = tmp_path / "logs"
    a, b = (LogFiles(logs, seconds=clock.now) for _ in range(2))
    for n in range(2):
        a.write(f"a {n}", error=False)
        b.write(f"b {n}", error=False)
    (path,) = logs.iterdir()
    assert path.read_text().split("\n") == ["a 0", "b 0", "a 1", "b 1", ""]
    a.close()
    b.close()


def test_a_zip_file_is_safe_before_its_log_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "dispatcher-2026-11-24.log"
    path.write_text("a 0 |\n")
    synced: list[tuple[Path, set[Path]]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        assert target == tmp_path or zipfile.is_zipfile(target), "all of it is written by then"
        synced.append((target, set(tmp_path.iterdir())))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    archived(tmp_path, DAY)
    made = path.with_suffix(".zip")
    part = path.with_suffix(".zip.part")
    assert synced == [(part, {path, part}), (tmp_path, {path, made})]
    assert set(tmp_path.iterdir()) == {made}


def test_a_zipping_under_way_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "dispatcher-2026-11-24.log").write_text("a 0 |\n")
    archive(tmp_path, today=DAY, keep_days=30, rest=lambda: True)
    assert [path.name for path in tmp_path.iterdir()] == ["dispatcher-2026-11-24.log"]


def test_only_what_is_ours_and_too_old_goes(tmp_path: Path) -> None:
    for name in ("dispatcher-2026-10-25.zip", "dispatcher-2026-10-26.zip", "notes-2020-01-01.zip"):
        (tmp_path / name).touch()
    assert archived(tmp_path, DAY, keep_days=30).deleted == ["dispatcher-2026-10-25.zip"]
    assert {path.name for path in tmp_path.iterdir()} == {"dispatcher-2026-10-26.zip", "notes-2020-01-01.zip"}


def test_a_full_disk_tears_no_line_and_is_told_once(tmp_path: Path, clock: SharedClock) -> None:
    """A limit on the size of files stands for the disk: the kernel cuts a write at it the same way."""
    path = tmp_path / "logs" / "dispatcher-2026-11-24.log"
    with writer(tmp_path, "a") as process:
        order(process, f"limit {path.stat().st_size + 30}")
        assert answer(process) == "done"
        order(process)  # a line of 43 bytes
        assert "log_files_failed" in answer(process)
        assert answer(process) == "done"
        LogFiles(path.parent, seconds=clock.now).write(
            "b 0 |", error=False
        )  # another process, without a limit
        for _ in range(2):
            order(process)
            assert answer(process) == "done"
        order(process, "limit 1000000")
        assert answer(process) == "done"
        clock.turn(1)
        order(process)
        answered = answer(process)
        assert "log_files_back" in answered
        assert "missed=3" in answered
        assert answer(process) == "done"
        assert finished(process) == 5
    assert path.read_text().splitlines()[1] == " " * 29
    assert found(path.parent, EVERYTHING) == ["a 0", "b 0", "a 4"]


def test_a_directory_that_goes_and_comes_back(tmp_path: Path, clock: SharedClock) -> None:
    logs = tmp_path / "logs"
    files = LogFiles(logs, seconds=clock.now)
    with capture_logs() as said:
        files.write("a 0 |", error=True)
        shutil.rmtree(logs)
        clock.turn(1)
        files.write("a 1 |", error=True)
        assert found(logs, EVERYTHING) == found(logs, ERRORS) == ["a 1"]
        assert said == []

        shutil.rmtree(logs)
        logs.touch()  # now it cannot be made again
        for n in range(3):
            clock.turn(1)
            files.write(f"a {2 + n} |", error=False)
        assert [line["event"] for line in said] == ["log_files_failed"]
        assert "File exists" in said[0]["error"]
        logs.unlink()
        files.write("a 5 |", error=False)  # tried again in the next second only
        assert not logs.exists()
        clock.turn(1)
        files.write("a 6 |", error=False)
    assert [line["event"] for line in said] == ["log_files_failed", "log_files_back"]
    assert said[1]["missed"] == 4
    assert found(logs, EVERYTHING) == ["a 6"]


@pytest.mark.parametrize("modified", [date(1970, 1, 2), date(2200, 1, 1)])
def test_a_log_of_a_time_that_a_zip_file_cannot_name_is_zipped(tmp_path: Path, modified: date) -> None:
    path = tmp_path / "dispatcher-2026-11-24.log"
    path.write_text("a 0 |\n")
    seconds = datetime.combine(modified, datetime.min.time(), UTC).timestamp()
    os.utime(path, (seconds, seconds))
    assert archived(tmp_path, DAY).zipped == ["dispatcher-2026-11-24.zip"]
    assert found(tmp_path, EVERYTHING) == ["a 0"]


def test_what_cannot_be_zipped_or_deleted_keeps_nothing_else_from_it(tmp_path: Path) -> None:
    (tmp_path / "dispatcher-2026-11-22.log").symlink_to("/dev/null")
    (tmp_path / "dispatcher-2026-11-23.log").write_text("a 0 |\n")
    (tmp_path / "dispatcher-2020-01-01.zip").mkdir()
    (tmp_path / "dispatcher-2020-01-02.zip").touch()
    with pytest.raises(OSError, match="dispatcher-2020-01-01"):
        archived(tmp_path, DAY, keep_days=30)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dispatcher-2020-01-01.zip",
        "dispatcher-2026-11-22.log",
        "dispatcher-2026-11-23.zip",
    ]


def test_what_is_too_old_goes_first_and_makes_room(tmp_path: Path) -> None:
    (tmp_path / "dispatcher-2026-11-24.log").write_text("a 0 |\n")
    old = tmp_path / "dispatcher-2020-01-01.zip"
    old.touch()
    there: list[bool] = []

    def rest() -> bool:
        there.append(old.exists())
        return False

    archive(tmp_path, today=DAY, keep_days=30, rest=rest)
    assert there == [False]


def test_a_log_that_is_compared_with_its_zip_file_is_given_up_too(tmp_path: Path) -> None:
    path = tmp_path / "dispatcher-2026-11-24.log"
    text = "a 0 |\n" * 400_000  # more than is read at once
    path.write_text(text)
    archived(tmp_path, DAY)
    path.write_text(text)  # the archive died before it deleted the log
    seen: list[set[str]] = []

    def rest() -> bool:
        seen.append({one.name for one in tmp_path.iterdir()})
        return True

    archive(tmp_path, today=DAY, keep_days=30, rest=rest)
    assert seen == [{path.name, "dispatcher-2026-11-24.zip"}]


async def test_the_end_does_not_wait_for_a_disk_that_hangs(
    tmp_path: Path, clock: SharedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_upkeep, "END_SECONDS", 0.1)
    hangs, old = tmp_path / "dispatcher-2026-11-20.log", tmp_path / "dispatcher-2020-01-01.zip"
    os.mkfifo(hangs)  # to open it takes until somebody writes
    old.touch()
    with kept_up(LogFiles(tmp_path, seconds=clock.now), keep_days=30):

        async def is_about_to_open() -> bool:
            return not old.exists()

        await eventually(is_about_to_open, seconds=5, what="what is too old is deleted")
    thread = next(one for one in enumerate_threads() if one.name == "log upkeep")
    hangs.open("w").close()
    thread.join()


async def test_an_archive_that_fails_is_told_once_and_goes_on(tmp_path: Path, clock: SharedClock) -> None:
    (tmp_path / "dispatcher-2026-11-24.log").write_text("a 0 |\n")
    clock.turn(60)
    obstacle = tmp_path / "dispatcher-2026-11-24.zip.part"
    obstacle.mkdir()
    with capture_logs() as said, kept_up(LogFiles(tmp_path, seconds=clock.now), keep_days=30, every=0.001):

        async def failed() -> bool:
            return bool(said)

        async def zipped() -> bool:
            return len(said) > 1

        await eventually(failed, seconds=5, what="the failure is told")
        obstacle.rmdir()
        await eventually(zipped, seconds=5, what="it goes on")
    assert [line["event"] for line in said] == ["log_archive_failed", "log_files_kept"]
    assert said[1]["zipped"] == ["dispatcher-2026-11-24.zip"]
