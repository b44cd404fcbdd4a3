"""Sweeps of several grids, and presets, which keep such a sweep under a name."""

from pathlib import Path

import pytest
from test_cli import QUICK, Runner, cl_run

from cl_runner.report.cli import main as report
from cl_runner.results.run import load_run
from cl_runner.sweeps.grids import union_of_grids

__all__ = ["cl_run"]

GRIDS = {"plain": {"method": "finetune"}, "masks": {"freeze": "0.5,0.9", "method": "global_mask"}}


def test_the_union_of_grids() -> None:
    assert union_of_grids({"seed": "0,1"}, GRIDS, ["benchmark.tasks=3"]) == [
        [f"seed={seed}", "benchmark.tasks=3", *job]
        for seed in (0, 1)
        for job in (["method=finetune"], ["freeze=0.5", "method=global_mask"], ["freeze=0.9", "method=global_mask"])
    ]
    # More seeds leave the numbers of the jobs before them.
    assert union_of_grids({"seed": "0,1"}, GRIDS, [])[:3] == union_of_grids({"seed": 0}, GRIDS, [])
    assert union_of_grids({"seed": "0,1"}, {}, []) == [["seed=0"], ["seed=1"]]
    assert union_of_grids({"seed": "0,1"}, {"own": {"seed": 7, "threads": None}}, []) == [["seed=7", "threads=null"]]


def test_the_command_line_wins_over_every_grid() -> None:
    jobs = union_of_grids({"seed": "range(0,10)"}, GRIDS, ["seed=5", "freeze=0.1,0.2"])
    methods = ["method=finetune", "method=global_mask"]
    assert jobs == [["seed=5", f"freeze={freeze}", method] for freeze in (0.1, 0.2) for method in methods]
    # What grids have in common then is one job.
    assert union_of_grids({}, GRIDS, ["freeze=0.1", "method=ewc"]) == [["freeze=0.1", "method=ewc"]]


def test_settings_in_step() -> None:
    step = [["train.epochs", "freeze"]]
    pairs = [["train.epochs=5", "freeze=0.1"], ["train.epochs=20", "freeze=0.2"]]
    given = ["train.epochs=5,20", "freeze=0.1,0.2", "seed=0,1"]
    assert union_of_grids({}, {}, given, zipped=step) == [[*pair, f"seed={seed}"] for pair in pairs for seed in (0, 1)]
    assert len(union_of_grids({}, {}, given)) == 8
    # Two groups, a range, and three in step.
    groups = [["seed", "train.epochs", "freeze"], ["fisher.samples", "threads"]]
    values = {"seed": "range(0,2)", "train.epochs": "5,20", "freeze": "0.1,0.2", "fisher.samples": "7,8,9"}
    jobs = union_of_grids(values, {}, ["threads=1,2,3"], zipped=groups)
    assert jobs == [
        [f"seed={seed}", *pair, f"fisher.samples={samples}", f"threads={samples - 6}"]
        for seed, pair in enumerate(pairs)
        for samples in (7, 8, 9)
    ]


def test_a_grid_takes_what_goes_in_step_with_its_own() -> None:
    grids = {"plain": {"method": "finetune"}, "ewc": {"method": "ewc", "method.ewc_lambda": "1,10"}}
    params, step = {"seed": "0,1", "train.epochs": "5,20"}, [["method.ewc_lambda", "train.epochs"]]
    jobs = union_of_grids(params, grids, [], zipped=step)
    plain = [[f"seed={seed}", f"train.epochs={epochs}", "method=finetune"] for seed in (0, 1) for epochs in (5, 20)]
    pairs = [["method.ewc_lambda=1", "train.epochs=5"], ["method.ewc_lambda=10", "train.epochs=20"]]
    ewc = [[f"seed={seed}", *pair, "method=ewc"] for seed in (0, 1) for pair in pairs]
    assert {frozenset(job) for job in jobs} == {frozenset(job) for job in (*plain, *ewc)}
    assert len(jobs) == 8
    # The command line still wins, by values or by a single one, which all jobs have.
    three = union_of_grids({}, grids, ["method.ewc_lambda=1,2,3", "train.epochs=4,5,6"], zipped=step)
    assert [job for job in three if "method=ewc" in job] == [
        [f"method.ewc_lambda={number}", f"train.epochs={number + 3}", "method=ewc"] for number in (1, 2, 3)
    ]
    one = union_of_grids(params, {"ewc": grids["ewc"]}, ["train.epochs=7"], zipped=step)
    assert len(one) == 4
    assert all("train.epochs=7" in job for job in one)


PRESET = ["--config-dir", "mine", "experiment=both", *QUICK]


def write_preset(folder: Path) -> None:
    """A preset of two grids, one of which names a member of a group before the group."""
    (folder / "mine" / "experiment").mkdir(parents=True)
    (folder / "mine" / "experiment" / "both.yaml").write_text(
        """
# @package _global_
defaults:
  - override /benchmark: split_digits
  - override /hydra/launcher: stacked

fisher:
  samples: 20

hydra:
  sweeper:
    params: {seed: "0,1"}
    grids:
      ewc: {method.ewc_lambda: "3,30", method: ewc}
      masks: {method: global_mask, freeze: 0.25}
"""
    )


@pytest.mark.parametrize("launcher", [["hydra.launcher.workers=1"], ["hydra/launcher=basic"]])
def test_a_preset_is_a_union_of_grids(launcher: list[str], cl_run: Runner, tmp_path: Path) -> None:
    write_preset(tmp_path)
    assert cl_run("-m", *PRESET, "hydra.sweep.dir=sweep", *launcher)[0] == 0
    configs = [load_run(tmp_path / "sweep" / str(number)).config for number in range(6)]
    assert not (tmp_path / "sweep" / "6").exists()
    found = [(config.seed, config.method.name, config.method.ewc_lambda, config.freeze) for config in configs]
    each = [("ewc", 3, 0), ("ewc", 30, 0), ("global_mask", 0, 0.25)]
    assert found == [(seed, *settings) for seed in (0, 1) for settings in each]
    assert {config.benchmark.name for config in configs} == {"split_digits"}


def test_a_preset_trains_a_single_run(cl_run: Runner, tmp_path: Path) -> None:
    write_preset(tmp_path)
    assert cl_run(*PRESET, "benchmark.tasks=3", "hydra.run.dir=alone")[0] == 0
    config = load_run(tmp_path / "alone").config
    assert (config.benchmark.name, config.benchmark.tasks, config.fisher.samples) == ("split_digits", 3, 20)


@pytest.mark.parametrize("mode", [[], ["-m"], ["-m", "hydra/launcher=stacked"]])
def test_an_unknown_preset_is_refused(mode: list[str], cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run(*mode, "experiment=pile_upp")
    assert code == 2
    assert "error: experiment: got 'pile_upp', allowed: one of" in error
    assert not list(tmp_path.glob("*/*/*/*/*"))


@pytest.mark.parametrize("launcher", [["hydra/launcher=stacked", "hydra.launcher.workers=1"], []])
def test_a_sweep_in_step(
    launcher: list[str], cl_run: Runner, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = [*QUICK, *launcher, "hydra.sweep.dir=sweep", "hydra.sweeper.zipped=[[freeze,seed]]"]
    assert cl_run("-m", *options, "method=global_mask", "freeze=0.25,0.75", "seed=1,2")[0] == 0
    configs = [load_run(tmp_path / "sweep" / str(number)).config for number in range(2)]
    assert not (tmp_path / "sweep" / "2").exists()
    assert [(config.freeze, config.seed) for config in configs] == [(0.25, 1), (0.75, 2)]
    # Those that the status asks for are the same.
    assert report(["--status", "sweep"]) == 0
    assert capsys.readouterr().out.startswith("sweep: 2 jobs, 2 finished\n")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("zipped=[seed,freeze]", "hydra.sweeper.zipped: got ['seed', 'freeze'], allowed: a list of lists of two"),
        ("zipped=[[seed]]", "hydra.sweeper.zipped: got [['seed']], allowed: a list of lists of two settings or more"),
        (
            "zipped=[[seed,freeze],[seed,threads]]",
            "hydra.sweeper.zipped: got [['seed', 'freeze'], ['seed', 'threads']]",
        ),
        ("zipped=[[seed,3]]", "hydra.sweeper.zipped: got [['seed', 3]], allowed: a list of lists of two settings"),
        ("zipped=null", "hydra.sweeper.zipped: got null, allowed: a list of lists of two settings or more, none twice"),
        (
            "zipped=[[seed,freeze,method.ewc_lambda]]",
            "hydra.sweeper.zipped: got seed with 3, freeze with 2, method.ewc_lambda with 3 values, allowed: equal",
        ),
        (
            "zipped=[[seed,train.epoch]]",
            "hydra.sweeper.zipped: got train.epoch, allowed: settings that are swept: seed, freeze, method.ewc_lambda",
        ),
    ],
)
def test_what_cannot_go_in_step_is_one_line(setting: str, message: str, cl_run: Runner, tmp_path: Path) -> None:
    values = ["seed=range(0,3)", "freeze=0.1,0.2", "method.ewc_lambda=1,10,100"]
    code, _, error = cl_run("-m", *values, f"hydra.sweeper.{setting}", "hydra.sweep.dir=sweep")
    assert code == 2
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("hydra.sweeper.grids=3", "hydra.sweeper.grids: got 3, allowed: names of grids, each with its overrides"),
        ("+hydra.sweeper.grids.a=3", "hydra.sweeper.grids: got {'a': 3}, allowed: names of grids"),
        ("+hydra.sweeper.grids.a={seed:'range(0,'}", "seed: got range(0,, which is no value in Hydra's grammar"),
        ("+hydra.sweeper.grids.a={method:ewcc}", "method: got 'ewcc', allowed: one of ewc"),
    ],
)
def test_bad_grids_are_named(setting: str, message: str, cl_run: Runner) -> None:
    code, _, error = cl_run("-m", "hydra/launcher=stacked", *QUICK, setting)
    assert code == 2
    assert message in error
    assert "Traceback" not in error
