"""Kill a sweep at random moments, start it again each time, and compare what it ends with to an undisturbed one.

    uv run scripts/chaos.py [--kills N] [--seed S] [--out DIR]

Of five kills one is a SIGTERM, on which states are saved, one a kill -9 of the launching process alone, whose workers
then leave by themselves, and three a kill -9 of all processes.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from cl_runner import load_run
from cl_runner.results.files import COMPLETE, is_complete

SWEEP = [
    "hydra/launcher=stacked",
    "hydra.launcher.workers=2",
    "method=ewc,online_ewc,layerwise_mask",
    "seed=0,1,2,3",
    "benchmark.tasks=3",
    "train.epochs=20",
    "checkpoint.minutes=0.005",
    "save=last",
]
# One that is killed more often is hardly ever near its end.
KILLS_OF_A_SWEEP = 5
# Finished runs leave a smaller stack, which may round differently: see docs/sweeps.md.
TOLERANCE = 0.002


@dataclass
class Outcome:
    """Of a sweep that was disturbed `kills` times: how many runs have the same bits, how many are within tolerance."""

    kills: int
    same: int
    close: int
    different: list[Path]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path("outputs/chaos"))
    options = parser.parse_args()
    outcomes = torment(options.out, options.kills, random.Random(options.seed))
    for number, outcome in enumerate(outcomes):
        print(f"sweep {number}: {outcome.kills} kills; {outcome.same} runs the same to the bit, {outcome.close} within")
        for directory in outcome.different:
            print(f"  different: {directory}")
    runs = sum(outcome.same + outcome.close + len(outcome.different) for outcome in outcomes)
    wrong = sum(len(outcome.different) for outcome in outcomes)
    print(f"{options.kills} kills, {len(outcomes)} sweeps, {runs} runs: {runs - wrong} equal, {wrong} different")
    return int(wrong > 0)


def torment(out: Path, kills: int, moments: random.Random) -> list[Outcome]:
    """Sweeps that were killed `kills` times in all, each brought to its end and compared."""
    started = time.monotonic()
    start(out / "undisturbed").communicate()
    seconds = time.monotonic() - started
    outcomes: list[Outcome] = []
    while (done := sum(outcome.kills for outcome in outcomes)) < kills:
        folder = out / f"disturbed-{len(outcomes)}"
        count = 0
        while count < min(KILLS_OF_A_SWEEP, kills - done):
            process = start(folder)
            try:
                process.wait(timeout=moments.uniform(0, seconds))
                break
            except subprocess.TimeoutExpired:
                kill(process, moments.random())
                count += 1
                check_whole(folder)
        start(folder).communicate()
        outcomes.append(compared(out / "undisturbed", folder, count))
    return outcomes


def start(folder: Path) -> subprocess.Popen[bytes]:
    """The sweep into `folder`, in a group of processes of its own."""
    command = [sys.executable, "-m", "cl_runner", "-m", *SWEEP, f"hydra.sweep.dir={folder}"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)


def kill(process: subprocess.Popen[Any], lot: float) -> None:
    """End a sweep in the way that a number from 0 to 1 chooses, and wait until all its processes are gone."""
    if lot < 0.2:
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGTERM if lot < 0.4 else signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 30
    while is_alive(process.pid):
        assert time.monotonic() < until, "processes of a sweep that was killed went on"
        time.sleep(0.1)


def is_alive(group: int) -> bool:
    """Whether any process of a group runs; one that has ended and that nobody has waited for does not."""
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
    return False


def check_whole(folder: Path) -> None:
    """Whatever reads as complete must be so; raises if it is not."""
    for file in folder.glob(f"*/{COMPLETE}"):
        metrics, run = json.loads(file.read_text()), load_run(file.parent)
        assert metrics["average_accuracy"] == run.matrix[-1].mean(), file
        assert max(run.significance) == len(run.matrix) - 1, file
        assert run.facts["runs_in_stack"] >= 1, file


def compared(undisturbed: Path, disturbed: Path, kills: int) -> Outcome:
    """Every run against its undisturbed twin."""
    outcome = Outcome(kills, 0, 0, [])
    for file in sorted(undisturbed.glob(f"*/{COMPLETE}")):
        twin = disturbed / file.parent.name
        if not is_complete(twin):
            outcome.different.append(twin)
        elif (twin / COMPLETE).read_bytes() == file.read_bytes():
            outcome.same += 1
        elif np.abs(load_run(twin).matrix - load_run(file.parent).matrix).max() <= TOLERANCE:
            outcome.close += 1
        else:
            outcome.different.append(twin)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
