"""One measured round, and how to read the CPU time of what is measured."""

from collections.abc import Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Figure:
    """One round of one side."""

    per_second: float
    cpu_microseconds: float
    """CPU time of the measured processes, per message: says more than the rate where others use the machine too."""


def figure(processes: Iterable[psutil.Process], cpu_before: float, count: int, seconds: float) -> Figure:
    return Figure(count / seconds, (cpu(processes) - cpu_before) / count * 1e6)


def cpu(processes: Iterable[psutil.Process]) -> float:
    """CPU seconds that the processes have used."""
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)
