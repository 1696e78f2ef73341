"""`make chaos`: kills, stops, cuts and empties everything under load, and counts what became of each message.

Each policy (`on_uncertain` = retry, then hold) has a run of its own, on servers of its own. Exit code 1 if a message
was lost, or arrived again without an excuse; then the replicas' logs are kept.
"""

import argparse
import asyncio
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

import structlog
from bench.machine import machine
from rich.console import Console
from rich.progress import Progress
from tests.chaos.faults import FAULTS
from tests.chaos.report import problems, round_line, table
from tests.chaos.run import Plan, Round, play

WIDTH = 130
"""Of the table, where no terminal says another."""


async def run(plan: Plan, console: Console, *, verbose: bool) -> bool:
    """Play the plan and print its table. Whether every promise was kept."""
    folder = Path(tempfile.mkdtemp(prefix=f"dispatcher-chaos-{plan.on_uncertain}-"))
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(plan.on_uncertain, total=plan.rounds)

        def told(each: Round) -> None:
            if verbose:
                console.print(round_line(each), markup=False, highlight=False, soft_wrap=True)
            progress.update(bar, advance=1, description=f"{plan.on_uncertain}: {each.fault}")

        accounts = await play(plan, folder, told=told)
    console.print(table(accounts, markdown=not console.is_terminal))
    found = problems(accounts)
    for line in found:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if found:
        console.print(f"The replicas' logs are in {folder}")
    else:
        shutil.rmtree(folder)
    return not found


def main() -> int:
    """Parse, play, and answer the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=None, help="repeats the faults of an earlier run (default: a new one)"
    )
    parser.add_argument("--rounds", type=int, default=100, help="of each policy (default: 100)")
    parser.add_argument("--replicas", type=int, default=3, help="default: 3")
    parser.add_argument("--policy", choices=("retry", "hold", "both"), default="both", help="default: both")
    parser.add_argument(
        "--only", choices=tuple(FAULTS), nargs="+", default=tuple(FAULTS), help="these faults and no others"
    )
    parser.add_argument("--verbose", action="store_true", help="a line for each round")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    policies = ("retry", "hold") if arguments.policy == "both" else (arguments.policy,)
    # what the harness's own connections and servers meet is no news: it is done to them
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(machine())
    console.print(f"seed {seed}: to repeat these faults, add --seed {seed}")
    plans = [Plan(seed, arguments.rounds, arguments.replicas, policy, arguments.only) for policy in policies]
    kept = [asyncio.run(run(plan, console, verbose=arguments.verbose)) for plan in plans]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
