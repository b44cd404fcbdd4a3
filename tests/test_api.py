"""Runs and sweeps from Python: what they give, and that they leave the process as it was."""

import gc
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.version import VersionBase
from test_cli import QUICK, Runner, cl_run
from test_interruption import SMALL, wait_for

import cl_runner
from cl_runner.config.presets import VERSION_BASE, config_dir
from cl_runner.errors import ConfigError, DivergenceError, RefusedError, RunError, StoppedError
from cl_runner.results.files import COMPLETE, STATE, is_complete
from cl_runner.results.run import Run, load_run

__all__ = ["cl_run"]

ONE = ["hydra.launcher.workers=1", "hydra.sweep.dir=sweep", *QUICK]


@pytest.fixture(autouse=True)
def within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def state() -> dict[str, Any]:
    """What of a process is its owner's."""
    names = ("SIGTERM", "SIGUSR1", "SIGINT", "SIGALRM", "SIGPIPE")
    root, own = logging.getLogger(), logging.getLogger("cl_runner")
    loggers = [(logger.level, logger.handlers[:], logger.disabled, logger.propagate) for logger in (root, own)]
    return {
        "argv": sys.argv[:],
        "cwd": Path.cwd(),
        # Libraries add some of their own when they are imported.
        "environment": [os.environ.get(name) for name in ("HYDRA_FULL_ERROR", "MPLBACKEND", "MATPLOTLIBRC")],
        "signals": [signal.getsignal(getattr(signal, name)) for name in names],
        "timer": signal.getitimer(signal.ITIMER_REAL)[1],
        "logging": (*loggers, logging.raiseExceptions),
        "hydra": (GlobalHydra.instance().hydra, HydraConfig.instance().cfg, VersionBase.instance().getbase()),
        "collector": gc.isenabled(),
        "main": sys.modules["__main__"],
    }


@contextmanager
def unchanged() -> Iterator[None]:
    before = state()
    yield
    assert state() == before


def test_the_package_is_light_and_tells_what_it_has() -> None:
    code = (
        "import sys, cl_runner\n"
        "assert set(cl_runner.__all__) <= set(dir(cl_runner))\n"
        "assert not {'torch', 'hydra', 'numpy', 'pandas', 'omegaconf'} & set(sys.modules)\n"
        "from cl_runner import load_run, run, sweep\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        _ = cl_runner.walk


def test_a_run_is_that_of_the_command(cl_run: Runner) -> None:
    settings = ["method=ewc", "seed=3", "plots=none", *QUICK]
    with unchanged():
        run = cl_runner.run([*settings, "hydra.run.dir=python"])
    assert cl_run(*settings, "hydra.run.dir=command")[0] == 0
    assert isinstance(run, Run)
    assert (run.path / COMPLETE).read_bytes() == Path("command", COMPLETE).read_bytes()
    np.testing.assert_array_equal(run.matrix, load_run("command").matrix)
    # Where nothing is said it lies where the command would have put it; each time elsewhere.
    runs = [cl_runner.run([*settings]) for _ in range(2)]
    assert {run.path.parents[1] for run in runs} == {Path.cwd() / "outputs"}
    assert runs[0].path != runs[1].path


def test_a_run_counts_its_seconds_from_its_call() -> None:
    before = time.perf_counter()
    run = cl_runner.run(["plots=none", *QUICK])
    assert run.facts["seconds"]["total"] <= time.perf_counter() - before


def test_a_sweep_is_a_table() -> None:
    with unchanged():
        table = cl_runner.sweep(["method=finetune,global_mask", "freeze=0.3,0.6", "seed=0,1", *ONE])
    columns = list(table.columns)
    assert columns[:2] == ["directory", "seed"]
    assert columns[-1] == "failed"
    assert {"method", "freeze", "average_accuracy", "forward_transfer"} < set(columns)
    assert not {"device", "train.epochs", "average_mse"} & set(columns)
    # What fine-tuning does not use makes it no other run.
    assert len(table) == 6
    assert table["failed"].isna().all()
    assert sorted(table.loc[table["method"] == "global_mask", "freeze"]) == [0.3, 0.3, 0.6, 0.6]
    assert table.loc[table["method"] == "finetune", "freeze"].isna().all()
    for row in table.itertuples():
        run = load_run(str(row.directory))
        assert (run.config.seed, run.config.method.name) == (row.seed, row.method)
        assert run.metrics["average_accuracy"] == row.average_accuracy


def test_a_sweep_by_processes_of_a_script_without_a_guard() -> None:
    code = f"""
        import cl_runner
        open("began", "a").write("once ")
        sweep = ["seed=0,1", "hydra.launcher.workers=2", *{QUICK}]
        for name in "ab":
            table = cl_runner.sweep([*sweep, f"hydra.sweep.dir={{name}}"])
            assert table["failed"].isna().all() and list(table["seed"]) == [0, 1]
    """
    Path("script.py").write_text(textwrap.dedent(code))
    subprocess.run([sys.executable, "script.py"], check=True, capture_output=True)
    assert Path("began").read_text() == "once "


def test_another_launcher() -> None:
    with unchanged():
        table = cl_runner.sweep(["hydra/launcher=basic", "seed=0,1", "hydra.sweep.dir=sweep", *QUICK])
    assert list(table["seed"]) == [0, 1]
    assert "average_accuracy" in table


@pytest.mark.parametrize("launcher", ["stacked", "basic"])
def test_a_job_that_fails_is_a_row(launcher: str, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["train.learning_rate=0.001,1e30", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep", *QUICK]
    with unchanged():
        table = cl_runner.sweep([*overrides, *(["hydra.launcher.workers=1"] if launcher == "stacked" else [])])
    assert list(table["train.learning_rate"]) == [0.001, 1e30]
    assert table["failed"].isna().tolist() == [True, False]
    assert table["average_accuracy"].isna().tolist() == [False, True]
    reason = table["failed"][1]
    assert reason.startswith("the loss became infinite")
    assert capsys.readouterr().err.count(reason) == 1


def test_a_job_whose_settings_are_wrong_is_a_row() -> None:
    table = cl_runner.sweep(["freeze=0.5,2", "method=global_mask", *ONE])
    assert table["seed"].isna().tolist() == [False, True]
    assert list(table["failed"]) == [None, "freeze: got 2.0, allowed: a number from 0 to 1"]


def test_a_table_of_a_regression_and_of_images() -> None:
    table = cl_runner.sweep(
        [
            "benchmark=regression,permuted_digits",
            "train.iterations=2",
            "train.epochs=null",
            "train.first_epochs=null",
            *ONE[:2],
        ]
    )
    assert table["average_mse"].isna().tolist() == [False, True]
    assert table["average_accuracy"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    "overrides",
    [
        ["freeze=2"],
        ["method=ewcc"],
        ["lrr=3"],
        ["seed"],
        ["seed=0,1"],
        ["train.learning_rate=1e30", "hydra.run.dir=here", *QUICK],
        ["data_dir=${oc.env:NOWHERE}"],
        ["hydra.run.dir=/dev/null/x"],
    ],
)
def test_an_error_is_the_line_of_the_command(
    overrides: list[str], cl_run: Runner, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with unchanged(), pytest.raises(RunError) as caught:
        cl_runner.run(overrides)
    assert "error" not in capsys.readouterr().err
    # A failed run may be started anew.
    code, _, error = cl_run(*overrides)
    assert (code, error) == (caught.value.exit_code, f"error: {caught.value}\n")
    if code == 2:
        assert isinstance(caught.value, ConfigError)
        assert list(tmp_path.iterdir()) == []


def test_errors_have_their_kinds() -> None:
    with pytest.raises(DivergenceError):
        cl_runner.run(["train.learning_rate=1e30", *QUICK])
    with pytest.raises(RefusedError, match=r"^freeze: got 2\.0, allowed: .*; freeze: got 3\.0, allowed:"):
        cl_runner.sweep(["freeze=2,3", *ONE])
    with pytest.raises(ConfigError, match="got a sweep over nothing"):
        cl_runner.sweep(["seed=range(3,0)"])
    for call in (cl_runner.run, cl_runner.sweep):
        with pytest.raises(ConfigError, match="overrides: got --help, allowed: settings as key=value"):
            call(["--help"])
        with pytest.raises(ConfigError, match=r"hydra\.mode"):
            call(["hydra.mode=MULTIRUN"])
        with pytest.raises(ConfigError, match=r"--config-dir: .*nowhere"):
            call([], config_dir="nowhere")


def test_a_finished_run_stays() -> None:
    cl_runner.run(["hydra.run.dir=here", *QUICK])
    with pytest.raises(ConfigError, match="here holds a finished run"):
        cl_runner.run(["hydra.run.dir=here", *QUICK])


def test_presets_of_ones_own() -> None:
    Path("mine", "method").mkdir(parents=True)
    preset = "# @package _global_\ndefaults:\n  - global_mask\n\nfreeze: 0.25\nmethod:\n  name: careful\n"
    Path("mine", "method", "careful.yaml").write_text(preset)
    assert cl_runner.run(["method=careful", *QUICK], config_dir="mine").config.freeze == 0.25
    table = cl_runner.sweep(["method=careful,finetune", *ONE], config_dir=Path("mine"))
    assert list(table["method"]) == ["careful", "finetune"]


def test_in_the_midst_of_hydra() -> None:
    with initialize_config_dir(str(config_dir()), **VERSION_BASE):
        with unchanged():
            cl_runner.run(QUICK)
            cl_runner.sweep(["seed=0,1", *ONE])
        assert compose("config", overrides=["freeze=0.125"]).freeze == 0.125
    assert not GlobalHydra.instance().is_initialized()


def test_logging_goes_on() -> None:
    root = logging.getLogger()
    handler = logging.FileHandler("mine.log", mode="w")
    root.addHandler(handler)
    try:
        with unchanged():
            cl_runner.run(["hydra.run.dir=here", "freeze=0.5", *QUICK])
            cl_runner.sweep(["seed=0,1", *ONE])
        root.warning("of mine")
    finally:
        root.removeHandler(handler)
        handler.close()
    assert Path("mine.log").read_text() == "of mine\n"
    # The run's own log is its own.
    assert "freeze" in Path("here", "cl_runner.log").read_text()


def test_in_other_threads() -> None:
    def sweep(name: str) -> int:
        return len(cl_runner.sweep(["seed=0,1", f"hydra.sweep.dir={name}", "hydra.launcher.workers=2", *QUICK]))

    with unchanged(), ThreadPoolExecutor(2) as threads:
        assert list(threads.map(sweep, "ab")) == [2, 2]
        assert threads.submit(cl_runner.run, QUICK).result().metrics


def told_once_at_work(file: Path, number: signal.Signals) -> threading.Thread:
    def tell() -> None:
        wait_for(file)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=tell)
    thread.start()
    return thread


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, StoppedError)])
def test_a_signal_stops_a_run_which_goes_on_then(number: signal.Signals, kind: type[BaseException]) -> None:
    settings = [*SMALL, "train.epochs=300"]
    # The second epoch of the second task: the state after the first is there.
    thread = told_once_at_work(Path("here", STATE), number)
    with unchanged(), pytest.raises(kind):
        cl_runner.run([*settings, "benchmark.tasks=4", "hydra.run.dir=here"])
    thread.join()
    assert Path("here", STATE).exists()
    assert not is_complete(Path("here"))
    run = cl_runner.run([*settings, "benchmark.tasks=4", "hydra.run.dir=here"])
    whole = cl_runner.run([*settings, "benchmark.tasks=4", "hydra.run.dir=whole"])
    assert (run.path / COMPLETE).read_bytes() == (whole.path / COMPLETE).read_bytes()
    assert len(run.facts["sessions"]) == 2


def test_a_signal_stops_a_sweep_and_no_other_child() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        thread = told_once_at_work(Path("sweep", "0", "training.csv"), signal.SIGINT)
        with unchanged(), pytest.raises(KeyboardInterrupt):
            cl_runner.sweep(
                [*SMALL, "train.epochs=100000", "seed=0,1", "hydra.launcher.workers=2", "hydra.sweep.dir=sweep"]
            )
        thread.join()
        assert other.poll() is None
        other.kill()
    assert not any(is_complete(Path("sweep", name)) for name in "01")


def test_processes_of_others_are_left_alone() -> None:
    """A pool of the caller's, whose processes multiprocessing knows of, too."""
    code = f"""
        import multiprocessing, cl_runner
        if __name__ == "__main__":
            with multiprocessing.get_context("forkserver").Pool(1) as pool:
                assert pool.apply(abs, [-1]) == 1
                (before,) = (child.pid for child in multiprocessing.active_children())
                for name in "ab":
                    cl_runner.sweep(["seed=0,1", "hydra.launcher.workers=2", f"hydra.sweep.dir={{name}}", *{QUICK}])
                assert pool.apply(abs, [-1]) == 1
                assert [child.pid for child in multiprocessing.active_children()] == [before]
    """
    Path("script.py").write_text(textwrap.dedent(code))
    subprocess.run([sys.executable, "script.py"], check=True, capture_output=True)


def test_of_a_sweep_that_is_extended_all_runs_are_told() -> None:
    cl_runner.sweep(["seed=0", *ONE])
    table = cl_runner.sweep(["seed=1,10", *ONE])
    assert list(table["seed"]) == [0, 1, 10]


@pytest.mark.parametrize("call", [cl_runner.run, cl_runner.sweep])
def test_nothing_is_left_open(call: Callable[..., object]) -> None:
    call(QUICK)
    gc.collect()
    described = [str(target) for file in Path("/proc/self/fd").glob("*") if (target := _link(file))]
    assert not [name for name in described if name.startswith(str(Path.cwd()))]


def _link(file: Path) -> Path | None:
    try:
        return file.readlink()
    except OSError:
        return None


def test_torch_keeps_its_threads() -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        cl_runner.run(["threads=1", *QUICK])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_failed_run_says_so_in_its_directory() -> None:
    with pytest.raises(RunError) as caught:
        cl_runner.run(["train.learning_rate=1e30", "hydra.run.dir=here", *QUICK])
    assert json.loads(Path("here", "failed.json").read_text())["reason"] == str(caught.value)
