"""A method of one's own: one file and one YAML in a folder of one's own, and what goes wrong with these."""

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file
from test_cli import Runner, cl_run

from cl_runner.report.cli import main as report
from cl_runner.results.files import COMPLETE, STATE

__all__ = ["cl_run"]

SI = """
from dataclasses import dataclass, field

import torch

from cl_runner.methods.part import Part


@dataclass
class Settings:
    strength: float = 0.1
    damping: float = 0.1


class SynapticIntelligence(Part):
    Settings = Settings

    def setup(self):
        self.strength, self.damping = self.by_parameter("strength"), self.by_parameter("damping", 1.0)
        self.importance, self.path, self.anchor = map(self.state.buffer, ("importance", "path", "anchor"))
        self.before, self.gradient = (torch.zeros_like(self.path) for _ in range(2))

    def begin(self, task):
        self.anchor.copy_(self.stack.parameters)
        self.path.zero_()

    def on_gradient(self):
        self.before.copy_(self.stack.parameters)
        self.gradient.copy_(self.stack.gradient)
        self.stack.gradient.addcmul_(2 * self.strength * self.importance, self.before - self.anchor)

    def on_update(self):
        self.path.addcmul_(self.gradient, self.before - self.stack.parameters)

    def end(self, task, fisher, used):
        drift = self.stack.parameters - self.anchor
        self.importance.add_(self.path.clamp(min=0) / (drift.square() + self.damping))

    def value(self):
        pull = self.strength * self.importance * (self.stack.parameters - self.anchor).square()
        return self.stack.layout.totals(pull)


class NoSettings(Part):
    pass


class Failing(SynapticIntelligence):
    def end(self, task, fisher, used):
        raise ZeroDivisionError("nothing to share")


class Leaking(SynapticIntelligence):
    def setup(self):
        super().setup()
        self.path = torch.zeros_like(self.path)


class Misspelt(SynapticIntelligence):
    def on_grad(self):
        pass


def not_a_class():
    pass
"""
YAML = """
defaults: [base/plain]
name: si
parts:
  si:
    _target_: mine.si.SynapticIntelligence
"""
SMALL = ["benchmark.tasks=3", "benchmark.train_samples=100", "train.epochs=2", "model.hidden=[9]", "plots=none"]
OWN = ["--config-dir", "mine", "method=si", *SMALL]
STACKED = ["hydra/launcher=stacked", "hydra.launcher.workers=1"]
BOTH = ["-m", "--config-dir", "mine", *SMALL, "method=si,ewc", "method.parts.si.strength=0.1,3", "seed=0,1"]
BOTH += ["save=last"]


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    """A folder with a part and a method."""
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "si.py").write_text(SI)
    (tmp_path / "mine" / "method" / "si.yaml").write_text(YAML)
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path / "mine"
    # As in another process.
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "mine":
            del sys.modules[name]


@pytest.mark.usefixtures("mine")
def test_alone_in_a_sweep_and_by_processes_that_outlive_the_command(cl_run: Runner, tmp_path: Path) -> None:
    code, output, error = cl_run(*BOTH, *STACKED, "hydra.sweep.dir=stacked")
    assert code == 0, error
    local = ["hydra/launcher=slurm_local", "hydra.launcher.array_parallelism=1", "hydra.sweep.dir=slurm_local"]
    command = [sys.executable, "-m", "cl_runner", *BOTH, *local]
    submitted = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    # Of the strengths EWC knows none.
    assert "6 of 6 runs complete" in output
    assert "6 of 6 runs complete" in submitted.stdout
    assert cl_run(*OWN, "method.parts.si.strength=3", "seed=1", "hydra.run.dir=alone")[0] == 0
    for other in ("stacked", "slurm_local"):
        (same,) = (
            run.parent
            for run in (tmp_path / other).glob("*/run.json")
            if (settings := json.loads(run.read_text())["settings"])["seed"] == 1
            and settings["method"]["parts"].get("si", {}).get("strength") == 3
        )
        for name in ("accuracy.csv", COMPLETE, "checkpoints/task_3.safetensors"):
            assert (same / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    with (tmp_path / "alone" / "training.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["si"]) > 0 for row in rows] == [False] * 2 + [True] * 4
    # What the class leaves to itself is recorded.
    assert json.loads((tmp_path / "alone" / "run.json").read_text())["settings"]["method"]["parts"] == {
        "si": {"_target_": "mine.si.SynapticIntelligence", "strength": 3.0, "damping": 0.1}
    }


@pytest.mark.usefixtures("mine")
def test_the_report_tells_runs_apart_by_settings_of_ones_own(
    cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cl_run(*BOTH, *STACKED, "hydra.sweep.dir=s")[0] == 0
    monkeypatch.setattr("cl_runner.report.build.draw_sections", lambda _: [])
    monkeypatch.setattr(sys, "argv", ["cl-report", "s"])
    assert report() == 0
    with (tmp_path / "s" / "report" / "summary.csv").open() as file:
        rows = [(row["method"], row["method.parts.si.strength"], row["seeds"]) for row in csv.DictReader(file)]
    assert sorted(rows) == [("ewc", "", "2"), ("si", "0.1", "2"), ("si", "3.0", "2")]
    assert "strength" in capsys.readouterr().out


@pytest.mark.usefixtures("mine")
def test_stopped_and_taken_up(cl_run: Runner, tmp_path: Path) -> None:
    long = [*OWN, "method.parts.si.strength=3", "train.epochs=1200", "train.curve_points=1"]
    command = [sys.executable, "-m", "cl_runner", *long, "hydra.run.dir=stopped", "checkpoint.minutes=0.001"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (tmp_path / "stopped" / "checkpoints" / "task_1.safetensors").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    state = load_file(tmp_path / "stopped" / STATE)
    assert {name for name in state if ".parts." in name} == {
        f"vectors.parts.si.{name}" for name in ("importance", "path", "anchor")
    }
    assert cl_run(*long, "hydra.run.dir=stopped")[0] == 0
    assert cl_run(*long, "hydra.run.dir=whole")[0] == 0
    for name in ("accuracy.csv", COMPLETE, "checkpoints/task_3.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (
            ["method.parts.si.strenth=1"],
            "method.parts.si.strenth: unknown setting, allowed: strength, damping (did you",
        ),
        (["method.parts.si.strength=abc"], "method.parts.si.strength: got abc, allowed: a number"),
        (["method.parts.si.strength=null"], "method.parts.si.strength: got null, allowed: a number"),
        (["method.parts.si=3"], "method.parts.si: got 3, allowed: a mapping with _target_, the dotted name of a class"),
        (["method.parts.si._target_=mine.si.Nope"], "method.parts.si._target_: got mine.si.Nope, allowed: a name in"),
        (["method.parts.si._target_=mine.so.Nope"], "method.parts.si._target_: got mine.so.Nope, allowed: a name in"),
        (["method.parts.si._target_=mine.si.not_a_class"], "allowed: a class derived from cl_runner.methods.part.Part"),
        (["method.parts.si._target_=mine.si.Settings"], "allowed: a class derived from cl_runner.methods.part.Part"),
        (["method.parts.si._target_=mine.si.NoSettings"], "allowed: a part that has its settings as a dataclass"),
        (["method.parts.si._target_=mine.si.Misspelt"], "has on_grad, which is no hook, allowed: on_gradient"),
        (["method.parts.si._target_=si"], "method.parts.si._target_: got 'si', allowed: a dotted name"),
        (
            ["method.parts.mask._target_=mine.si.SynapticIntelligence"],
            "method.parts: got the name mask, allowed:",
        ),
        (["method.joint=true"], "method.joint: got true with method.parts.si, allowed: true only without parts"),
    ],
)
def test_what_is_wrong_is_refused_in_a_line(settings: list[str], error: str, cl_run: Runner, tmp_path: Path) -> None:
    code, _, told = cl_run(*OWN, "hydra.run.dir=run", *settings)
    assert code == 2
    assert error in told
    assert told.count("\n") == 1
    code, _, told = cl_run("-m", *OWN, *STACKED, "hydra.sweep.dir=sweep", *settings)
    assert code == 2
    assert error in told
    if "joint" not in error:
        # What of several settings is wrong together is found once jobs are composed.
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.usefixtures("mine")
def test_what_fails_in_ones_own_code_is_told_with_its_place(cl_run: Runner, tmp_path: Path) -> None:
    failing = "method.parts.si._target_=mine.si.Failing"
    code, _, error = cl_run(*OWN, failing, "hydra.run.dir=run")
    assert code == 1
    assert f"ZeroDivisionError: nothing to share ({tmp_path / 'mine' / 'si.py'}, line " in error
    assert 'mine/si.py", line' in (tmp_path / "run" / "cl_runner.log").read_text()


@pytest.mark.usefixtures("mine")
def test_a_setting_of_a_part_that_a_method_does_not_have_is_named(cl_run: Runner) -> None:
    code, output, _ = cl_run(*OWN[:2], *SMALL, "method=ewc", "method.parts.si.strength=1", "hydra.run.dir=run")
    assert code == 0
    assert "method.parts.si.strength was set but is not used: method=ewc has no part si" in " ".join(output.split())


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ["mine.si.SynapticIntelligence", "strength=0.1,3"],
            0,
            "in 2 settings\nok  permuted: no tensor of a step",
        ),
        (["mine.si.Leaking", "strength=3"], 1, "stopped and taken up differs"),
        (["mine.si.SynapticIntelligence", "strenth=1"], 2, "strenth: unknown setting, allowed: strength, damping"),
        (["mine.si.SynapticIntelligence", "strength"], 2, "got strength, allowed: SETTING=VALUE"),
        (["mine.si.Failing"], 1, "ZeroDivisionError: nothing to share"),
        (["mine.si.not_a_class"], 2, "allowed: a class derived from cl_runner.methods.part.Part"),
        (["--help"], 0, "cl-run check MODULE.CLASS"),
        ([], 2, "cl-run check MODULE.CLASS"),
    ],
)
def test_check_puts_a_part_to_the_test(arguments: list[str], code: int, words: str, cl_run: Runner) -> None:
    found, output, error = cl_run("check", *arguments)
    assert found == code
    assert words in output + error
