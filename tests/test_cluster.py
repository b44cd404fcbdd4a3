"""Sweeps on a real SLURM, which runs on this machine for the time of these tests."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cl_runner.files import COMPLETE, FAILED, STATE, position_of
from cl_runner.status import statuses

CLUSTER = Path(__file__).parents[1] / "scripts" / "slurm" / "local_cluster.sh"
SMALL = ["benchmark.tasks=2", "benchmark.train_samples=100", "model.hidden=[9]", "train.curve_points=1", "method=ewc"]
# Enough for something to happen meanwhile, some seconds.
LONG = [*SMALL, "train.epochs=1500", "checkpoint.minutes=0.02"]
MEMORY = "hydra.launcher.mem_gb=1"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two nodes; the tests' processes use it."""
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
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep of `LONG` over three seeds, each by itself, on this machine."""
    place = tmp_path_factory.mktemp("undisturbed")
    options = ["hydra/launcher=stacked", "hydra.launcher.size=1", "hydra.sweep.dir=here"]
    command = [sys.executable, "-m", "cl_runner", "-m", *options, *LONG, "seed=0,1,2"]
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    return place / "here"


Sweep = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Starts `cl-run -m` in the test's directory."""

    def start(*arguments: str, launcher: str = "slurm") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "cl_runner", "-m", f"hydra/launcher={launcher}", *arguments]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start


def done(process: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


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


@pytest.mark.usefixtures("cluster")
def test_a_sweep_is_an_array_and_the_same_as_on_this_machine(sweep: Sweep, tmp_path: Path) -> None:
    runs = ["method=ewc,global_mask", "seed=0,1", "train.epochs=2", *SMALL[:-1]]
    options = ["hydra.launcher.size=2", "hydra.launcher.gpus_per_node=1", MEMORY]
    output = done(sweep(*runs, *options, "hydra.sweep.dir=s"))
    assert "4 runs in 2 stack(s)\nsubmitted as 2 task(s): " in output
    assert "4 of 4 runs complete, in s" in output
    done(sweep(*runs, "hydra.launcher.size=2", "hydra.sweep.dir=here", launcher="stacked"))
    assert all(same(tmp_path / "s" / str(run), tmp_path / "here" / str(run)) for run in range(4))
    script = next((tmp_path / "s" / ".submitit").glob("*_submission.sh")).read_text()
    assert "--array=0-1%" in script
    assert "#SBATCH --gpus-per-node=1" in script
    assert "#SBATCH --mem=1024M" in script
    assert "#SBATCH --signal=USR1@90" in script
    again = done(sweep(*runs, MEMORY, "hydra.sweep.dir=s"))
    assert "submitted" not in again
    assert "4 of 4 runs complete" in again


@pytest.mark.usefixtures("cluster")
def test_interrupted_jobs_go_on_and_end_the_same(sweep: Sweep, tmp_path: Path, undisturbed: Path) -> None:
    """One by `scontrol requeue`, one by SIGUSR1, one by a more urgent job; the launching process is killed too."""
    runs = [*LONG, "seed=0,1,2"]
    folder = tmp_path / "s"
    launching = sweep(*runs, "hydra.launcher.size=1", "hydra.launcher.cpus_per_task=2", MEMORY, "hydra.sweep.dir=s")
    until(lambda: all(is_training(folder / str(run)) for run in range(3)))
    launching.kill()
    launching.communicate()
    assert [status.state for status in statuses(folder)] == ["running"] * 3
    before = [position_of(folder / str(run)) for run in range(3)]
    scontrol("requeue", task_of(folder, 0))
    subprocess.run(["scancel", "--signal=USR1", task_of(folder, 1)], check=True)
    node = f"--nodelist={node_of(task_of(folder, 2))}"
    urgent = ["sbatch", "--partition=urgent", node, "--exclusive", "--wrap=true", "--output=/dev/null"]
    subprocess.run(urgent, check=True)
    until(lambda: all(status.state == "waiting" for status in statuses(folder)))
    # Each saved where it was stopped.
    assert all((position_of(folder / str(run)) or ()) > (before[run] or ()) for run in range(3))
    again = done(sweep(*runs, MEMORY, "hydra.sweep.dir=s"))
    assert "3 runs submitted before are waiting or being computed" in again
    assert "3 of 3 runs complete" in again
    assert all(same(folder / str(run), undisturbed / str(run)) for run in range(3))


@pytest.mark.usefixtures("cluster")
def test_a_job_on_a_node_that_goes_down_goes_on_elsewhere(sweep: Sweep, tmp_path: Path, undisturbed: Path) -> None:
    launching = sweep(*LONG, "seed=1", MEMORY, "hydra.sweep.dir=s")
    until(lambda: is_training(tmp_path / "s" / "0"))
    node = f"nodename={node_of(task_of(tmp_path / 's', 0))}"
    scontrol("update", node, "state=down", "reason=test")
    done(launching)
    scontrol("update", node, "state=resume")
    assert same(tmp_path / "s" / "0", undisturbed / "1")


@pytest.mark.usefixtures("cluster")
def test_a_job_over_its_time_limit_goes_on(sweep: Sweep, tmp_path: Path) -> None:
    run = tmp_path / "s" / "0"
    limit = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=55", "hydra.launcher.wait=false"]
    done(sweep(*LONG, "train.epochs=100000", "seed=6", *limit, MEMORY, "hydra.sweep.dir=s"))
    task = task_of(tmp_path / "s", 0)
    until(lambda: statuses(tmp_path / "s")[0].state == "waiting" and is_training(run))
    before = position_of(run) or ()
    assert "this job is timed-out" in (tmp_path / "s" / ".submitit" / f"{task}_0_log.out").read_text()
    until(lambda: (position_of(run) or ()) > before)
    subprocess.run(["scancel", task], check=True)


@pytest.mark.usefixtures("cluster")
def test_a_cancelled_job_is_lost_until_the_sweep_is_started_again(sweep: Sweep, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    runs = [*LONG, "seed=7,8", MEMORY, "hydra.launcher.size=1", "hydra.sweep.dir=s"]
    output = done(sweep(*runs, "hydra.launcher.wait=false"))
    assert "how far the others are: cl-report --status s" in output
    until(lambda: is_training(folder / "0"))
    subprocess.run(["scancel", task_of(folder, 0)], check=True)
    until(lambda: statuses(folder)[0].state != "running")
    lost, other = statuses(folder)
    assert lost.words.startswith("CANCELLED; stopped by SIGTERM"), lost
    assert "saved in task" in lost.words
    assert other.state in ("running", "finished")
    assert (folder / "0" / STATE).exists()
    output = done(sweep(*runs))
    assert "1 runs in 1 stack(s)" in output
    assert "2 of 2 runs complete" in output


@pytest.mark.usefixtures("cluster")
def test_a_batch_file_of_ones_own(tmp_path: Path, undisturbed: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    options = ["--array=0-1", "--mem=1G", "--signal=USR1@30", f"--export=ALL,SWEEP=s,PATH={path}"]
    submit = ["sbatch", *options, str(CLUSTER.parent / "sweep.sbatch"), *LONG]
    subprocess.run(submit, cwd=tmp_path, check=True)
    runs = [tmp_path / "s" / f"seed-{seed}" / "0" for seed in (0, 1)]
    until(lambda: all(is_training(run) for run in runs))
    subprocess.run(["scancel", "--signal=USR1", "--name=cl_runner"], check=True)
    until(lambda: all((run / COMPLETE).exists() for run in runs))
    logs = [log.read_text() for log in tmp_path.glob("slurm-*.out")]
    assert all("stopped by SIGUSR1" in log and "1 of 1 runs complete" in log for log in logs)
    assert all(same(run, undisturbed / str(seed)) for seed, run in enumerate(runs))


@pytest.mark.usefixtures("cluster")
def test_what_fails_says_why(sweep: Sweep, tmp_path: Path) -> None:
    diverging = ["method.ewc_lambda=1,1e30", "train.optimizer=sgd", "train.learning_rate=0.1", "train.epochs=2"]
    output = done(sweep(*SMALL, *diverging, MEMORY, "hydra.sweep.dir=s"), code=1)
    assert "1 of 2 runs complete, 1 failed" in output
    assert "the loss became infinite or not a number in task 2" in output
    assert (tmp_path / "s" / "1" / FAILED).exists()
    output = done(sweep(*SMALL, "hydra.launcher.partition=none", MEMORY, "hydra.sweep.dir=t"), code=1)
    assert "error: nothing was submitted: sbatch: error: " in output
    assert "Traceback" not in output
    output = done(sweep(*SMALL, "hydra.launcher.timeout_min=0", "hydra.sweep.dir=u"), code=2)
    assert "hydra.launcher.timeout_min: got 0, allowed: an integer at least 1" in output
    assert not (tmp_path / "u").exists()
