"""Looks after LOG_DIR while a process runs, in a thread of its own: zipping a day's log may take a minute."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from dispatcher.kernel.log_archive import archive
from dispatcher.kernel.log_files import LogFiles

log = structlog.get_logger()

EVERY_SECONDS = 60.0
REST_SECONDS = 0.02
"""Between two mebibytes, which take about as long: the zipping uses about half a core."""
END_SECONDS = 1.0
"""How long the end waits for the thread: a disk that hangs holds it up for as long as it likes."""


@contextmanager
def kept_up(files: LogFiles, *, keep_days: int, every: float = EVERY_SECONDS) -> Iterator[None]:
    """At once, and now and then while the block runs: let go of the past, zip it, delete what is too old.

    At the end a zipping under way is given up, for the next process to do.
    """
    stop = threading.Event()
    thread = threading.Thread(
        target=_run, args=(files, keep_days, every, stop), name="log upkeep", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(END_SECONDS)
        files.close()


def _run(files: LogFiles, keep_days: int, every: float, stop: threading.Event) -> None:
    failing = False
    while not stop.is_set():
        try:
            _once(files, keep_days, stop)
            failing = False
        except FileNotFoundError:  # nothing was written so far, or somebody has removed it
            pass
        except OSError as error:
            if not failing:
                log.warning("log_archive_failed", directory=str(files.directory), error=str(error))
            failing = True
        except Exception:
            log.exception("loop_failed", loop="log upkeep", restart_in=every)
        stop.wait(every)


def _once(files: LogFiles, keep_days: int, stop: threading.Event) -> None:
    files.let_go()
    done = archive(
        files.directory, today=files.today(), keep_days=keep_days, rest=lambda: stop.wait(REST_SECONDS)
    )
    if done.zipped or done.deleted:
        log.info("log_files_kept", zipped=done.zipped, deleted=done.deleted)
