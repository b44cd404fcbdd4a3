"""Sweeps by the stacked launcher, seen from outside."""

import json
import subprocess
import sys
import time
from pathlib import Path

import chaos
import numpy as np
import psutil
import pytest
from test_cli import QUICK, Runner, cl_run

from cl_runner.errors import ResourceError
from cl_runner.results.files import position_of
from cl_runner.results.locks import is_locked
from cl_runner.results.run import load_run

__all__ = ["cl_run"]

# One worker computes in this process, where a test can reach in.
HERE = ["-m", "hydra/launcher=stacked", "hydra.launcher.workers=1", "hydra.sweep.dir=sweep", *QUICK]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def reason(folder: Path) -> str:
    found: str = json.loads((folder / "failed.json").read_text())["reason"]
    return found


def test_jobs_leave_what_single_runs_leave(cl_run: Runner, tmp_path: Path) -> None:
    methods = ["ewc", "global_mask", "joint"]
    code, output, error = cl_run(*HERE, f"method={','.join(methods)}", "seed=0,3", "plots=all", "save=all")
    assert code == 0
    assert "6 runs in 2 stacks" in error
    assert "6 of 6 runs complete, in sweep\nfor tables and figures: cl-report sweep" in output
    # One of each method; drawing takes longer than training.
    for number in (0, 3, 4):
        method, seed = methods[number // 2], [0, 3][number % 2]
        assert cl_run(f"method={method}", f"seed={seed}", "hydra.run.dir=alone", *QUICK)[0] == 0
        own, alone = tmp_path / "sweep" / str(number), tmp_path / "alone"
        assert set(contents(own)) == set(contents(alone))
        run, single = load_run(own), load_run(alone)
        assert run.config.method == single.config.method
        assert run.config.seed == seed
        assert run.facts["runs_in_stack"] == (2 if method == "joint" else 4)
        np.testing.assert_allclose(run.matrix, single.matrix, atol=0.002)
        (alone / "metrics.json").unlink()


def test_sweeps_leave_figures_to_the_report(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run(*HERE, "seed=0,1")[0] == 0
    assert cl_run("-m", "hydra.sweep.dir=basic", "seed=0,1", *QUICK)[0] == 0
    for number in "01":
        stacked, basic = tmp_path / "sweep" / number, tmp_path / "basic" / number
        assert set(contents(stacked)) == set(contents(basic))
        assert not list(basic.glob("*.png"))
    assert cl_run("plots=none", "hydra.run.dir=none", *QUICK)[0] == 0
    assert not list((tmp_path / "none").glob("*.png"))


def test_wrong_jobs_are_named_and_the_others_go_on(cl_run: Runner, tmp_path: Path) -> None:
    code, output, error = cl_run(*HERE, "method=global_mask,ewcc", "freeze=1.5,0.5,abc")
    assert code == 2
    assert "error: job 0 (" in error
    assert "freeze: got 1.5, allowed: a number from 0 to 1" in error
    assert "1 of 6 runs complete, 5 failed" in output
    # Three jobs have a method that does not exist.
    assert error.count("method: got 'ewcc'") == 2
    assert "error: 2 more jobs: method: got 'ewcc'" in error
    assert "Error executing job" not in error
    assert load_run(tmp_path / "sweep" / "1").config.freeze == 0.5
    assert reason(tmp_path / "sweep" / "0") == "freeze: got 1.5, allowed: a number from 0 to 1"
    assert reason(tmp_path / "sweep" / "2") == "freeze: got abc, allowed: a number from 0 to 1"
    assert "method: got 'ewcc', allowed: one of ewc" in reason(tmp_path / "sweep" / "4")


def test_a_wrong_setting_of_all_jobs_creates_nothing(cl_run: Runner, tmp_path: Path) -> None:
    for setting, message in [
        ("train.lr=3", "train.lr: unknown setting, allowed: epochs"),
        ("train.epochs=0", "train.epochs: got 0, allowed: an integer from 1 to 10000000, or null"),
        ("hydra.launcher.size=0", "hydra.launcher.size: got 0, allowed: an integer from 1 to 10000000, or null"),
        ("hydra.launcher.size=many", "hydra.launcher.size: got many, allowed: an integer from 1 to 10000000, or null"),
        ("hydra.launcher.sizes=3", "hydra.launcher.sizes: unknown setting, allowed: size, workers"),
    ]:
        code, _, error = cl_run(*HERE, "seed=0,1", setting)
        assert code == 2
        assert message in error
        assert list(tmp_path.iterdir()) == []


def test_a_diverging_job_is_marked_and_the_others_go_on(cl_run: Runner, tmp_path: Path) -> None:
    diverging = ["method=ewc", "method.ewc_lambda=1,1e30", "train.optimizer=sgd", "train.learning_rate=0.1"]
    code, output, error = cl_run(*HERE, *diverging)
    assert code == 1
    assert "1 of 2 runs complete, 1 failed" in output
    assert "method=ewc method.ewc_lambda=1e+30" in error
    assert load_run(tmp_path / "sweep" / "0").config.method.ewc_lambda == 1
    assert "the loss became infinite or not a number in task 2, epoch 1" in reason(tmp_path / "sweep" / "1")
    assert not (tmp_path / "sweep" / "1" / "metrics.json").exists()


def test_started_again_it_runs_what_is_missing(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run(*HERE, "method=global_mask", "freeze=0.3,0.6")[0] == 0
    (tmp_path / "sweep" / "1" / "metrics.json").unlink()
    before = contents(tmp_path / "sweep" / "0")
    code, output, error = cl_run(*HERE, "method=global_mask", "freeze=0.3,0.6,0.9")
    assert code == 0
    assert "2 runs in 1 stack, 1 finished before" in error
    assert "3 of 3 runs complete" in output
    assert contents(tmp_path / "sweep" / "0") == before
    assert [load_run(tmp_path / "sweep" / number).config.freeze for number in "012"] == [0.3, 0.6, 0.9]


def freezes(sweep: Path) -> dict[str, float]:
    return {folder.name: load_run(folder).config.freeze for folder in sweep.iterdir() if folder.is_dir()}


def test_a_job_is_known_by_its_settings_and_not_by_its_number(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run(*HERE, "method=global_mask", "freeze=0.3,0.6")[0] == 0
    before = {number: contents(tmp_path / "sweep" / number) for number in "01"}
    code, output, error = cl_run(*HERE, "method=global_mask", "freeze=0.6,0.8,0.3,0.9")
    assert code == 0
    assert "2 runs in 1 stack, 2 finished before\nfound again, finished: 0-1\n" in error
    assert "4 of 4 runs complete" in output
    assert freezes(tmp_path / "sweep") == {"0": 0.3, "1": 0.6, "2": 0.8, "3": 0.9}
    assert {number: contents(tmp_path / "sweep" / number) for number in "01"} == before
    # A sweep of others leaves them alone too.
    code, output, error = cl_run(*HERE, "method=global_mask", "freeze=0.1")
    assert (code, "1 of 1 runs complete" in output, "found again" in error) == (0, True, False)
    assert freezes(tmp_path / "sweep")["4"] == 0.1


def test_more_seeds_later(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run(*HERE, "method=ewc,global_mask", "seed=range(0,2)")[0] == 0
    code, output, error = cl_run(*HERE, "method=ewc,global_mask", "seed=range(0,4)")
    assert code == 0
    assert "4 runs in 1 stack, 4 finished before" in error
    assert "8 of 8 runs complete" in output
    configs = [load_run(folder).config for folder in (tmp_path / "sweep").iterdir() if folder.is_dir()]
    found = sorted((config.method.name, config.seed) for config in configs)
    assert found == [(method, seed) for method in ("ewc", "global_mask") for seed in range(4)]


def test_settings_are_what_they_were_resolved_to(
    cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in ("3", "4"):
        monkeypatch.setenv("SEED", seed)
        code, output, _ = cl_run(*HERE, "seed=${oc.env:SEED}", "method=ewc,finetune", "hydra.output_subdir=null")
        assert code == 0
        assert "2 of 2 runs complete" in output
    monkeypatch.delenv("SEED")
    assert [load_run(tmp_path / "sweep" / number).config.seed for number in "0123"] == [3, 3, 4, 4]


def test_jobs_that_differ_in_what_is_not_used_are_trained_once(cl_run: Runner, tmp_path: Path) -> None:
    code, output, error = cl_run(*HERE, "method=ewc,global_mask", "freeze=0.3,0.6,0.9")
    assert code == 0
    assert "4 runs in 1 stack" in error
    assert "2 jobs that would repeat others, as what they differ in is not used, are left out" in error
    assert "freeze was set but is not used" not in error
    assert "4 of 4 runs complete" in output
    assert sorted(freezes(tmp_path / "sweep")) == ["0", "3", "4", "5"]
    # One of the others it is, if the first of them is what is asked for next.
    assert "0 runs in 0 stacks, 1 finished before" in cl_run(*HERE, "method=ewc", "freeze=0.9")[2]


def test_a_run_in_a_directory_that_is_at_work_is_refused(cl_run: Runner, tmp_path: Path) -> None:
    from test_locks import held_by_another_process

    with held_by_another_process(tmp_path / "sweep"):
        code, _, error = cl_run(*HERE, "seed=0,1")
        assert (code, error) == (1, "error: sweep: another process is at work here\n")
        assert cl_run("-m", "seed=0,1", *QUICK, "hydra.sweep.dir=sweep")[0] == 1
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == [".lock"]


def test_an_unreadable_record_is_named_and_its_directory_left_alone(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run(*HERE, "seed=0,1")[0] == 0
    record = tmp_path / "sweep" / "1" / "run.json"
    record.write_text(record.read_text().replace('"seed": 1', '"seed": 2'))
    before = contents(tmp_path / "sweep" / "1")
    code, _, error = cl_run(*HERE, "seed=0,1")
    assert code == 0
    assert "sweep/1/run.json: it is damaged" in error
    assert "1 run in 1 stack, 1 finished before" in error
    assert contents(tmp_path / "sweep" / "1") == before
    assert load_run(tmp_path / "sweep" / "2").config.seed == 1


def test_a_refused_sweep_leaves_the_record_of_the_one_before(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run(*HERE, "method=global_mask", "freeze=0.3,0.6")[0] == 0
    before = contents(tmp_path / "sweep")
    assert cl_run(*HERE, "method=global_mask", "freeze=1.4,1.8")[0] == 2
    assert contents(tmp_path / "sweep") == before


def test_two_jobs_cannot_have_one_directory(cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run(*HERE, "seed=0,1", "hydra.sweep.subdir=same")
    assert code == 2
    assert "hydra.sweep.subdir: gives sweep/same, allowed: one for each job, and another job has it" in error
    assert load_run(tmp_path / "sweep" / "same").config.seed == 0


def test_out_of_memory_halves_the_stack(cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cl_runner.runs import loop

    complete, tried = loop.run_stack, []

    def small_machine(configs: list[object], *arguments: object, **named: object) -> object:
        tried.append(len(configs))
        if len(configs) > 2:
            raise ResourceError("not enough memory for the network(s)")
        return complete(configs, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("cl_runner.runs.loop.run_stack", small_machine)
    code, output, _ = cl_run(*HERE, "seed=range(0,5)")
    assert code == 0
    assert "5 of 5 runs complete" in output
    assert tried == [5, 2, 3, 1, 2]
    monkeypatch.setattr("cl_runner.runs.loop.run_stack", lambda *_, **__: small_machine([0, 0, 0]))
    code, output, _ = cl_run(*HERE, "seed=8,9", "hydra.sweep.dir=none")
    assert code == 1
    assert "0 of 2 runs complete, 2 failed, in none" in output
    assert reason(tmp_path / "none" / "0") == "not enough memory for the network(s)"


def test_missing_data_fails_every_job(cl_run: Runner, tmp_path: Path) -> None:
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / "MNIST" / "raw" / f"{name}-ubyte").write_bytes(b"short")
    code, _, _ = cl_run(*HERE, "benchmark=permuted_mnist", "data_dir=.", "seed=0,1")
    assert code == 1
    assert all("train-images-idx3-ubyte is truncated" in reason(tmp_path / "sweep" / number) for number in "01")


def test_two_processes_give_the_same_as_one(cl_run: Runner, tmp_path: Path) -> None:
    sweep = ["method=layerwise_mask", "freeze=0.2,0.8", "seed=0,1"]
    assert cl_run(*HERE, *sweep)[0] == 0
    code, output, _ = cl_run(*HERE, *sweep, "hydra.launcher.workers=2", "hydra.sweep.dir=two")
    assert code == 0
    assert "4 of 4 runs complete" in output
    for number in "0123":
        one, two = (load_run(tmp_path / name / number) for name in ("sweep", "two"))
        np.testing.assert_allclose(one.matrix, two.matrix, atol=0.002)
        assert two.facts["runs_in_stack"] == 2


def computing(place: Path, *sweep: str, runs: int) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A sweep in a process of its own, once all runs have begun, and its two workers."""
    command = [sys.executable, "-m", "cl_runner", *HERE, *sweep, "hydra.launcher.workers=2"]
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(place.glob("sweep/*/training.csv"))) < runs:
        time.sleep(0.05)
    # The workers are children of the process that imported for them.
    descendants = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in descendants if child.ppid() != process.pid]
    assert len(workers) == 2
    return process, workers


@pytest.mark.parametrize("seeds", [4, 2])
def test_a_killed_process_loses_nothing(seeds: int, tmp_path: Path) -> None:
    process, workers = computing(tmp_path, f"seed=range(0,{seeds})", "train.epochs=200", runs=seeds)
    workers[0].kill()
    output = process.communicate(timeout=180)[0]
    assert process.returncode == 0
    assert f"{seeds} of {seeds} runs complete" in output


def test_workers_leave_with_the_process_that_started_them(tmp_path: Path) -> None:
    process, _ = computing(tmp_path, "seed=0,1", "train.epochs=100000", runs=2)
    # It fails if one of them goes on.
    chaos.kill(process, 0)
    process.communicate()
    # With what they had computed, and with their locks.
    runs = [tmp_path / "sweep" / job for job in "01"]
    assert all(position_of(run) and not is_locked(run) for run in runs)


def test_a_preset_may_leave_open_what_is_swept(cl_run: Runner, tmp_path: Path) -> None:
    (tmp_path / "mine" / "method").mkdir(parents=True)
    preset = "# @package _global_\ndefaults:\n  - global_mask\n\nfreeze: ???\n"
    (tmp_path / "mine" / "method" / "open.yaml").write_text(preset)
    assert cl_run("--config-dir", "mine", *HERE, "method=open", "freeze=0.2,0.4")[0] == 0
    assert [load_run(tmp_path / "sweep" / number).config.freeze for number in "01"] == [0.2, 0.4]


def test_the_launching_process_does_not_import_torch(tmp_path: Path) -> None:
    arguments = ["cl-run", *HERE, "seed=0,1", "hydra.launcher.workers=2"]
    code = (
        f"import sys\nif __name__ == '__main__':\n    sys.argv = {arguments}\n    from cl_runner.cli.main import main\n"
        "    assert main() == 0\n    assert 'torch' not in sys.modules\n"
    )
    (tmp_path / "launch.py").write_text(code)
    subprocess.run([sys.executable, "launch.py"], cwd=tmp_path, check=True, capture_output=True)
