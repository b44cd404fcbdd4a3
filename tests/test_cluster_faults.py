"""Jobs of a real SLURM that are stopped, and go on."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from local_slurm import (
    LONG,
    MEMORY,
    Sweep,
    cluster,
    is_training,
    node_of,
    same,
    scontrol,
    sweep,
    task_of,
    undisturbed,
    until,
)
from test_cli import cl_run

from cl_runner.results.files import position_of
from cl_runner.sweeps.status import statuses

__all__ = ["cl_run", "cluster", "sweep", "undisturbed"]


@pytest.mark.usefixtures("cluster")
def test_interrupted_jobs_go_on_and_end_the_same(
    sweep: Sweep, tmp_path: Path, undisturbed: Callable[[int], Path]
) -> None:
    """One by `scontrol requeue`, one by SIGUSR1, one by a more urgent job; the launching process is killed too."""
    runs = [*LONG, "seed=0,1,2"]
    folder = tmp_path / "s"
    launching = sweep.start(
        *runs, "hydra.launcher.size=1", "hydra.launcher.cpus_per_task=2", MEMORY, "hydra.sweep.dir=s"
    )
    until(lambda: all(is_training(folder / str(run)) for run in range(3)))
    launching.kill()
    launching.wait()
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
    again = sweep(*runs, MEMORY, "hydra.sweep.dir=s")
    assert "3 runs submitted before are waiting or being computed" in again
    assert "3 of 3 runs complete" in again
    assert all(same(folder / str(run), undisturbed(run)) for run in range(3))


@pytest.mark.usefixtures("cluster")
def test_a_job_on_a_node_that_goes_down_goes_on_elsewhere(
    sweep: Sweep, tmp_path: Path, undisturbed: Callable[[int], Path]
) -> None:
    launching = sweep.start(*LONG, "seed=1", MEMORY, "hydra.sweep.dir=s")
    until(lambda: is_training(tmp_path / "s" / "0"))
    node = f"nodename={node_of(task_of(tmp_path / 's', 0))}"
    scontrol("update", node, "state=down", "reason=test")
    assert launching.wait(timeout=300) == 0
    scontrol("update", node, "state=resume")
    assert same(tmp_path / "s" / "0", undisturbed(1))


@pytest.mark.usefixtures("cluster")
def test_a_job_over_its_time_limit_goes_on(sweep: Sweep, tmp_path: Path) -> None:
    run = tmp_path / "s" / "0"
    limit = ["hydra.launcher.timeout_min=5", "hydra.launcher.signal_delay_s=55", "hydra.launcher.wait=false"]
    sweep(*LONG, "train.epochs=100000", "seed=6", *limit, MEMORY, "hydra.sweep.dir=s")
    task = task_of(tmp_path / "s", 0)
    until(lambda: is_training(run))
    # SLURM looks for limits twice a minute: of a minute from the start it might tell before anything is computed.
    scontrol("update", f"jobid={task}", "timelimit=1")
    # Meanwhile the processor is for other tests; before it tells SLURM has the job continue.
    subprocess.run(["scancel", "--signal=STOP", task], check=True)
    until(lambda: statuses(tmp_path / "s")[0].state == "waiting")
    scontrol("update", f"jobid={task}", "timelimit=5")
    before = position_of(run) or ()
    assert "this job is timed-out" in (tmp_path / "s" / ".submitit" / f"{task}_0_log.out").read_text()
    until(lambda: (position_of(run) or ()) > before)
    subprocess.run(["scancel", task], check=True)
