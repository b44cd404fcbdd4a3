"""Sweeps that stop at the first failure."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from test_cli import QUICK, Runner, cl_run

from cl_runner.errors import RunError
from cl_runner.results.files import COMPLETE, FAILED, STATE
from cl_runner.results.locks import is_locked
from cl_runner.sweeps import computing, workers
from cl_runner.sweeps.jobs import Job

__all__ = ["cl_run"]

FAST = ["-m", "hydra.sweeper.fail_fast=true", "hydra.sweep.dir=sweep", "train.optimizer=sgd"]
HERE = ["hydra/launcher=stacked", "hydra.launcher.workers=1"]
# A pair of jobs for each seed, of which the second diverges at once.
RATES = "train.learning_rate=0.1,1e30"
# Longer than any test.
LONG = [*QUICK[:2], "model.hidden=[8]", "train.epochs=1000000", "train.curve_points=1"]
LEFT = "stopped at the first failure; the same command goes on with the others\n"


def left(sweep: Path, name: str) -> set[str]:
    """The jobs that have left such a file."""
    return {path.parent.name for path in sweep.glob(f"*/{name}")}


def test_no_further_stack_is_begun_and_the_same_command_goes_on(cl_run: Runner, tmp_path: Path) -> None:
    jobs = [*FAST, *HERE, *QUICK, "hydra.launcher.size=1", "seed=0,1", RATES]
    code, output, error = cl_run(*jobs)
    assert code == 1
    assert error.endswith(LEFT)
    assert error.count("error: job 1 (") == 1
    assert "1 of 4 runs complete, 1 failed, in sweep\nhow far the others are: cl-report --status sweep" in output
    assert (left(tmp_path / "sweep", COMPLETE), left(tmp_path / "sweep", FAILED)) == ({"0"}, {"1"})
    code, _, error = cl_run(*jobs)
    assert code == 1
    assert "3 runs in 3 stacks, 1 finished before" in error
    # Unless it is asked for no more.
    code, output, error = cl_run(*jobs, "hydra.sweeper.fail_fast=false")
    assert code == 1
    assert LEFT not in error
    assert "2 of 4 runs complete, 2 failed, in sweep" in output
    assert (left(tmp_path / "sweep", COMPLETE), left(tmp_path / "sweep", FAILED)) == ({"0", "2"}, {"1", "3"})


def test_the_others_of_its_stack_save_their_state(cl_run: Runner, tmp_path: Path) -> None:
    small = [*QUICK, "train.epochs=4", "benchmark.tasks=3", RATES]
    jobs = [*FAST, *HERE, *small]
    code, output, error = cl_run(*jobs)
    assert code == 1
    assert "2 runs in 1 stack" in error
    assert LEFT in error
    assert "0 of 2 runs complete, 1 failed" in output
    assert left(tmp_path / "sweep", STATE) == {"0"}
    assert not left(tmp_path / "sweep", COMPLETE)
    assert not is_locked(tmp_path / "sweep" / "0")
    lines = (tmp_path / "sweep" / "0" / "training.csv").read_text().splitlines()
    assert lines[-1].startswith("1,1,")
    assert cl_run(*jobs, "hydra.sweeper.fail_fast=false")[0] == 1
    assert left(tmp_path / "sweep", COMPLETE) == {"0"}
    assert cl_run("-m", *HERE, "train.optimizer=sgd", *small, "hydra.sweep.dir=undisturbed")[0] == 1
    for name in ("accuracy.csv", COMPLETE):
        assert (tmp_path / "sweep/0" / name).read_bytes() == (tmp_path / "undisturbed/0" / name).read_bytes()


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
@pytest.mark.parametrize(
    "launcher",
    [
        ["hydra/launcher=stacked", "hydra.launcher.workers=2"],
        ["hydra/launcher=slurm_local", "hydra.launcher.array_parallelism=2"],
    ],
    ids=["stacked", "slurm_local"],
)
def test_stacks_at_work_elsewhere_save_their_state(launcher: list[str], cl_run: Runner, tmp_path: Path) -> None:
    # The weights of the second grow by a twentieth a step, so that the first is at work when they are infinite.
    decay = ["train.learning_rate=0.1", "train.weight_decay=0,20.5"]
    jobs = [*decay, "hydra.launcher.size=1", "oversubscribe=true"]
    code, output, error = cl_run(*FAST, *launcher, *LONG, *jobs)
    assert code == 1
    assert LEFT in error
    assert "0 of 2 runs complete, 1 failed, in sweep" in output
    assert left(tmp_path / "sweep", FAILED) == {"1"}
    assert not is_locked(tmp_path / "sweep" / "0")
    assert left(tmp_path / "sweep", STATE) == {"0"}


@pytest.mark.parametrize("launcher", [HERE, ["hydra/launcher=slurm_local"]], ids=["stacked", "slurm_local"])
def test_nothing_is_begun_if_a_setting_is_wrong(launcher: list[str], cl_run: Runner, tmp_path: Path) -> None:
    code, output, error = cl_run(*FAST, *launcher, *QUICK, "method=global_mask", "freeze=0.5,1.5,2")
    assert code == 2
    assert "freeze: got 1.5, allowed: " in error
    assert "freeze: got 2, allowed: " in error.replace("2.0", "2")
    assert LEFT in error
    assert "submitted" not in error
    assert "0 of 3 runs complete, 2 failed" in output
    assert not left(tmp_path / "sweep", COMPLETE)


def test_a_job_that_fails_by_itself_is_enough(cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = computing.compute

    def killed(jobs: Sequence[Job], report: Callable[[float], None], fail_fast: bool) -> list[str | None]:
        if jobs[0].number == 1:
            raise RunError("its memory is gone")
        return compute(jobs, report, fail_fast)

    monkeypatch.setattr(workers, "compute", killed)
    code, _, error = cl_run(*FAST, *HERE, *QUICK, "seed=0,1,2", "hydra.launcher.size=1")
    assert code == 1
    assert "seed=1): its memory is gone" in error
    assert (left(tmp_path / "sweep", COMPLETE), left(tmp_path / "sweep", FAILED)) == ({"0"}, {"1"})


@pytest.mark.parametrize("launcher", [HERE, []], ids=["stacked", "basic"])
def test_no_further_batch_is_begun(launcher: list[str], cl_run: Runner, tmp_path: Path) -> None:
    batches = ["hydra.sweeper.max_batch_size=2"] if launcher else []
    jobs = [*FAST, *launcher, *batches, *QUICK, "seed=range(0,3)", RATES]
    code, _, error = cl_run(*jobs, *(["hydra.launcher.size=1"] if launcher else []))
    assert code == 1
    assert "the loss became infinite or not a number" in error
    directories = {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()}
    assert directories == {"0", "1"}
    assert left(tmp_path / "sweep", COMPLETE) == {"0"}
    assert left(tmp_path / "sweep", FAILED) == {"1"}


def test_the_default_launcher_begins_nothing_if_a_job_cannot_be_composed(cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run(*FAST, *QUICK, "method=ewc,ewcc")
    assert code == 2
    assert "method: got 'ewcc', allowed: one of" in error
    assert not (tmp_path / "sweep" / "0").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["hydra/launcher=slurm_local", "hydra.launcher.wait=false"],
            "hydra.sweeper.fail_fast: got true with hydra.launcher.wait=false, allowed: false, as nobody looks\n",
        ),
        (
            ["hydra.launcher._target_=hydra_plugins.theirs.JoblibLauncher"],
            "hydra.sweeper.fail_fast: got true with hydra/launcher=basic, which begins all jobs at once, allowed: ",
        ),
        (["hydra.sweeper.fail_fast=perhaps"], "hydra.sweeper.fail_fast: got perhaps, allowed: true or false\n"),
    ],
    ids=["wait", "joblib", "perhaps"],
)
def test_where_it_makes_no_sense_it_is_refused(
    settings: list[str], message: str, cl_run: Runner, tmp_path: Path
) -> None:
    code, _, error = cl_run(*FAST, *settings)
    assert code == 2
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
