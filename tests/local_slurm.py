"""A real SLURM, which runs on this machine for the time of a file of tests, and sweeps on it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import MakeConfig
from test_cli import Runner
from test_runner import Silent

from cl_runner.results.files import COMPLETE, position_of
from cl_runner.runs.loop import run_stack
from cl_runner.sweeps.status import statuses

CLUSTER = Path(__file__).parents[1] / "scripts" / "slurm" / "local_cluster.sh"
SMALL = ["save=all", "benchmark.tasks=2", "benchmark.train_samples=100", "model.hidden=[9]", "train.curve_points=1"]
SMALL += ["method=ewc"]
# Enough for something to happen meanwhile, some seconds.
LONG = [*SMALL, "train.epochs=4000", "checkpoint.minutes=0.005"]
MEMORY = "hydra.launcher.mem_gb=1"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two nodes; the test's processes use it."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"SLURM is not here ({', '.join(missing)}): apt-get install slurm-wlm munge")
    directory = tmp_path_factory.mktemp("slurm")
    subprocess.run([CLUSTER, "up", directory], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(directory / "slurm.conf"))
        try:
            yield
        finally:
            subprocess.run(["scancel", "--quiet", f"--user={os.getuid()}"], check=True)
            subprocess.run([CLUSTER, "down", directory], check=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, make_config: MakeConfig) -> Callable[[int], Path]:
    """Gives a run of `LONG` of that seed, which this process trained."""
    place = tmp_path_factory.mktemp("undisturbed")

    def run(seed: int) -> Path:
        directory = place / str(seed)
        if not directory.exists():
            run_stack([make_config(*LONG, f"seed={seed}")], [directory], Silent())
        return directory

    return run


class Sweep:
    """Calls `cl-run -m` in the test's directory."""

    def __init__(self, cl_run: Runner, place: Path) -> None:
        self._cl_run, self._place = cl_run, place

    def __call__(self, *arguments: str, launcher: str = "slurm", code: int = 0) -> str:
        """Gives what it printed."""
        left, *output = self._cl_run("-m", f"hydra/launcher={launcher}", *arguments)
        assert left == code, output
        return "".join(output)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """In a process of its own."""
        command = [sys.executable, "-m", "cl_runner", "-m", "hydra/launcher=slurm", *arguments]
        return subprocess.Popen(command, cwd=self._place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def sweep(cl_run: Runner, tmp_path: Path) -> Sweep:
    return Sweep(cl_run, tmp_path)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 240
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)


def scontrol(*arguments: str) -> str:
    return subprocess.run(["scontrol", *arguments], check=True, capture_output=True, text=True).stdout


def same(one: Path, other: Path) -> bool:
    """The same bits in all that a run measured; how long it took is another matter."""
    names = ["accuracy.csv", "significance.csv", "layers.csv", "learning_curves.csv", COMPLETE]
    names += [f"{folder}/task_{task}.safetensors" for folder in ("checkpoints", "masks") for task in (1, 2)]
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def task_of(sweep: Path, run: int) -> str:
    return next(status.task for status in statuses(sweep) if status.directory.name == str(run))


def node_of(task: str) -> str:
    command = ["squeue", "--noheader", f"--jobs={task}", "--format=%N"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def is_training(run: Path) -> bool:
    return position_of(run) is not None
