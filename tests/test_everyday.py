"""Hydra's everyday ways in each launcher: callbacks, the working directory, globs, cores, versions."""

import io
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import MakeConfig
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from test_cli import QUICK, Runner, cl_run

from cl_runner.cli.show import show_results
from cl_runner.metrics import continual_metrics
from cl_runner.report.cli import main as report
from cl_runner.results.files import COMPLETE
from cl_runner.runs.training import Epoch, divergence

__all__ = ["cl_run"]

STACKED = ["-m", "hydra/launcher=stacked", "hydra.launcher.workers=1", "hydra.sweep.dir=sweep", "plots=none"]


class Notes(Callback):
    """Of what it is told about jobs, with whether the run was complete then."""

    taken: ClassVar[list[tuple[str, int, str, bool]]] = []

    def _note(self, event: str, config: DictConfig, status: str) -> None:
        directory = Path(config.hydra.runtime.output_dir)
        assert HydraConfig.get().runtime.output_dir == str(directory)
        self.taken.append((event, config.seed, status, (directory / COMPLETE).exists()))

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        self._note("start", config, "")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        self._note("end", config, job_return.status.name)


@pytest.mark.parametrize("launcher", [STACKED, ["-m", "hydra.sweep.dir=sweep", "plots=none"]])
def test_callbacks_are_called_when_a_job_is_trained(launcher: list[str], cl_run: Runner) -> None:
    Notes.taken.clear()
    mine = f"+hydra.callbacks.mine._target_={__name__}.Notes"
    assert cl_run(*launcher, *QUICK, "seed=0,1", mine)[0] == 0
    assert [note for note in Notes.taken if note[0] == "start"] == [("start", seed, "", False) for seed in (0, 1)]
    assert [note for note in Notes.taken if note[0] == "end"] == [("end", seed, "COMPLETED", True) for seed in (0, 1)]


def test_a_callback_is_told_of_a_failure(cl_run: Runner) -> None:
    Notes.taken.clear()
    diverging = ["train.optimizer=sgd", "train.learning_rate=1e30", f"+hydra.callbacks.mine._target_={__name__}.Notes"]
    assert cl_run(*STACKED, *QUICK, "seed=3", *diverging)[0] == 1
    assert Notes.taken == [("start", 3, "", False), ("end", 3, "FAILED", False)]


@pytest.mark.parametrize("launcher", [[], ["-m"], STACKED])
def test_a_relative_data_dir_is_where_the_command_was_started(
    launcher: list[str], cl_run: Runner, tmp_path: Path
) -> None:
    raw = tmp_path / "mine" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(b"short")
    code, _, error = cl_run(*launcher, "benchmark=permuted_mnist", "data_dir=mine", "hydra.job.chdir=true")
    # Found there, that is.
    assert code == 1
    assert f"{raw}/train-images-idx3-ubyte to have it downloaded again" in error


def test_a_glob_is_a_sweep_to_all_that_ask(cl_run: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = "+hydra.sweeper.grids.all={method:'glob(*mask)'}"
    assert cl_run(*STACKED, *QUICK, grid)[0] == 0
    assert cl_run(*STACKED[:-2], "hydra.sweep.dir=other", *QUICK, "method=glob(*mask)")[0] == 0
    for name in ("sweep", "other"):
        assert report(["--status", str(tmp_path / name)]) == 0
        assert "2 jobs, 2 finished" in capsys.readouterr().out


def test_more_threads_than_cores_are_asked_for_by_name(cl_run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_runner.runs.machine.cores", lambda: 4)
    monkeypatch.setattr("cl_runner.cli.main._train", lambda *_: None)
    assert cl_run("threads=4")[0] == 0
    assert cl_run("threads=5", "oversubscribe=true")[0] == 0
    code, _, error = cl_run("threads=5")
    assert (code, error) == (
        2,
        "error: threads: got 5, allowed: at most 4, the cores that this process may use, or oversubscribe=true\n",
    )
    for launcher, setting in (("stacked", "workers"), ("slurm_local", "array_parallelism")):
        code, _, error = cl_run("-m", f"hydra/launcher={launcher}", f"hydra.launcher.{setting}=3", "threads=2")
        assert code == 2
        assert f"hydra.launcher.{setting}: got 3 with threads=2, allowed: at most 4 threads in all" in error


def test_on_a_cluster_the_allocation_counts(cl_run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "sbatch")
    code, _, error = cl_run("-m", "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=2", "threads=3")
    assert code == 2
    assert "threads: got 3, allowed: at most 2, hydra.launcher.cpus_per_task" in error


def test_both_commands_tell_their_version(cl_run: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    assert cl_run("--version")[:2] == (0, "cl-runner 0.1.0\n")
    with pytest.raises(SystemExit) as leaving:
        report(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == "cl-runner 0.1.0\n"


@pytest.mark.parametrize(("tasks", "width"), [(5, 40), (10, 66), (20, 40), (3, 20)])
def test_a_table_fits_a_narrow_terminal(tasks: int, width: int) -> None:
    matrix = np.random.default_rng(0).random((tasks + 1, tasks))
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system=None, width=width)
    show_results(console, "title", matrix[1:], continual_metrics(matrix))
    table = screen.getvalue().split("average_accuracy")[0].split("test accuracy in %\n")[1]
    assert max(map(len, table.splitlines())) <= width
    assert all(f"{100 * value:.1f}" in table for value in (*matrix[-1], *np.diag(matrix[1:])))


ZERO = torch.zeros(1)


@pytest.mark.parametrize(
    ("overrides", "blamed"),
    [
        (["train.weight_decay=1e20"], ["train.weight_decay (now 1e+20)"]),
        (["method=ewc", "method.ewc_lambda=1e20"], ["method.ewc_lambda (now 1e+20)"]),
        (["method.l1_lambda=1e20", "train.weight_decay=1e9"], ["train.weight_decay", "method.l1_lambda"]),
        # Nothing stands out; what a method does not use is not to blame.
        (["method.ewc_lambda=1e20"], ["train.learning_rate (now 0.001)"]),
    ],
)
def test_what_is_far_from_usual_is_blamed(overrides: list[str], blamed: list[str], make_config: MakeConfig) -> None:
    epoch = Epoch(1, (2,), data_loss=ZERO, terms={}, diverged=ZERO.bool(), samples=1, seconds=0.1)
    words = divergence(1, epoch, 0, make_config(*overrides)).partition("try a smaller ")[2]
    assert [part.startswith(name) for part, name in zip(words.split(" or "), blamed, strict=True)] == [True] * len(
        blamed
    )
