"""A process that writes log lines by a clock it shares with others: the first 8 bytes of a file are seconds, then a flag.

`log_writer.py FOLDER NAME LINES`: LINES > 0: turns the clock by six hours, again and again, and ends the others when
it has written so many, or more, until every day that is over is zipped, or a while. 0: writes until then. -1: a line for each it reads. Looks after the files all the time.
"""

import mmap
import resource
import sys
import time
from pathlib import Path

from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.log_files import LogFiles
from dispatcher.kernel.log_names import past_logs
from dispatcher.kernel.log_upkeep import kept_up

TURNS = 12
BURST = 10
PATIENCE_SECONDS = 30.0


class SharedClock:
    """The seconds that are in the file, for all who have it open."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 16)

    def now(self) -> int:
        return int.from_bytes(self._map[:8], "little")

    def turn(self, seconds: int) -> None:
        self._map[:8] = (self.now() + seconds).to_bytes(8, "little")

    @property
    def over(self) -> bool:
        return self._map[8] != 0

    def end(self) -> None:
        self._map[8] = 1


def main(folder: Path, name: str, lines: int) -> None:
    """As said above; prints how many it has written."""
    clock = SharedClock(folder / "clock")
    files = LogFiles(folder / "logs", seconds=clock.now)
    written = 0

    def write() -> None:
        nonlocal written
        files.write(f"{name} {written} {'.' * (written * 37 % 300)}|", error=written % 10 == 0)
        written += 1
        if written % BURST == 0:
            time.sleep(0.002)  # leaves something of the machine to those who zip

    with kept_up(files, keep_days=3650, every=0.01):
        write()
        print("ready", flush=True)
        if lines < 0:
            for line in sys.stdin:
                if line.startswith("limit"):
                    most = int(line.split()[1])
                    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
                else:
                    write()
                print("done", flush=True)
        else:
            while written < lines if lines else not clock.over:
                write()
                if lines and written % (lines // TURNS) == 0:
                    clock.turn(6 * 3600)
        if lines > 0:
            end = elapsed() + PATIENCE_SECONDS
            while _unzipped(files) and elapsed() < end:
                write()
            clock.end()
    print(written, flush=True)


def _unzipped(files: LogFiles) -> list[str]:
    return past_logs((path.name for path in files.directory.iterdir()), files.today())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
