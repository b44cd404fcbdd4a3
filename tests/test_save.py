"""Which tensors a run leaves, by `save`."""

import filecmp
import itertools
from pathlib import Path

import pytest
import torch
from conftest import MakeConfig
from test_cli import QUICK, Runner, cl_run
from test_launching import HERE, contents
from test_resuming import SMALL, StopAt
from test_runner import Silent

from cl_runner.errors import NotSavedError, StoppedError
from cl_runner.results.record import read_record
from cl_runner.results.run import Run, load_run
from cl_runner.runs import loop, recorder
from cl_runner.runs.loop import run_stack

__all__ = ["cl_run"]

FOLDERS = ("checkpoints", "masks", "significance")
LEFT = {"auto": [1, 2, 3], "all": [1, 2, 3], "last": [3], "tables": []}
# A mask's overlaps need the significance of all tasks at the end.
MASKED = [*SMALL, "method=layerwise_mask", "method.mask_source=sum"]


def tensors(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*.safetensors")}


def of_tasks(tasks: list[int]) -> set[str]:
    return {f"{folder}/task_{task}.safetensors" for folder in FOLDERS for task in tasks}


@pytest.fixture(scope="module")
def whole(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that left everything."""
    directory = tmp_path_factory.mktemp("whole")
    run_stack([make_config(*MASKED, "save=all")], [directory], Silent())
    return directory


def check(directory: Path, save: str, whole: Path) -> None:
    """What is left is as `save` has it, and as of the run that left everything."""
    assert tensors(directory) == of_tasks(LEFT[save])
    assert [folder for folder in FOLDERS if (directory / folder).exists()] == list(FOLDERS if LEFT[save] else [])
    record = read_record(directory)
    assert {name for name in record.files if "/" in name} == of_tasks(LEFT[save])
    # The seconds in it differ.
    names = {path.name for path in whole.glob("*.csv")} - {"training.csv"} | tensors(directory) | {"metrics.json"}
    assert len(names) > 7
    assert filecmp.cmpfiles(whole, directory, names, shallow=False)[1:] == ([], [])
    run = load_run(directory)
    assert run.saved_tasks == LEFT[save]
    assert len(run.table("mask_overlap.csv")) == 3 * 3


@pytest.mark.parametrize("save", LEFT)
def test_alone(save: str, whole: Path, make_config: MakeConfig, tmp_path: Path) -> None:
    run_stack([make_config(*MASKED, f"save={save}")], [tmp_path], Silent())
    check(tmp_path, save, whole)


def test_in_a_stack_each_as_it_is_asked(whole: Path, make_config: MakeConfig, tmp_path: Path) -> None:
    configs = [make_config(*MASKED, f"save={save}") for save in LEFT]
    run_stack(configs, [tmp_path / save for save in LEFT], Silent())
    for save in LEFT:
        assert load_run(tmp_path / save).facts["runs_in_stack"] == len(LEFT)
        check(tmp_path / save, save, whole)


# Within the second task, and within the last.
@pytest.mark.parametrize("last", [11, 20])
@pytest.mark.parametrize(("before", "after"), [("tables", "tables"), ("last", "last"), ("tables", "all")])
def test_stopped_and_taken_up(
    before: str,
    after: str,
    last: int,
    whole: Path,
    make_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "Pauses", StopAt)
        StopAt.count, StopAt.last = itertools.count(), last
        with pytest.raises(StoppedError):
            run_stack([make_config(*MASKED, f"save={before}")], [tmp_path], Silent())
    done = 1 if last == 11 else 2
    assert tensors(tmp_path) == of_tasks(list(range(1, done + 1))) | {"state.safetensors"}
    run_stack([make_config(*MASKED, f"save={after}")], [tmp_path], Silent())
    check(tmp_path, after, whole)


@pytest.mark.parametrize("launcher", [HERE, ["-m", "hydra.sweep.dir=sweep", *QUICK]], ids=["stacked", "basic"])
def test_a_sweep_keeps_tables_alone_and_a_run_on_its_own_everything(
    launcher: list[str], cl_run: Runner, tmp_path: Path
) -> None:
    assert cl_run(*launcher, "seed=0,1", "method=global_mask")[0] == 0
    assert cl_run(*QUICK, "hydra.run.dir=alone", "method=global_mask", "plots=none")[0] == 0
    alone = contents(tmp_path / "alone")
    assert tensors(tmp_path / "alone") == of_tasks([1, 2])
    for number in "01":
        left = contents(tmp_path / "sweep" / number)
        assert set(left) == {path for path in alone if path.suffix != ".safetensors"}
        # Hydra's own three among them.
        assert len(left) <= 16
        assert len([path for path in left if path.parts[0] != ".hydra"]) <= 13
        assert sum(map(len, left.values())) < 60_000
    saved = [load_run(tmp_path / place).config.save for place in ("sweep/0", "alone")]
    assert saved == ["tables", "all"]


def test_what_was_not_saved_is_said_to_be_so(make_config: MakeConfig, tmp_path: Path) -> None:
    settings = [make_config(*MASKED, f"save={save}") for save in ("tables", "last")]
    run_stack(settings, [tmp_path / "tables", tmp_path / "last"], Silent())
    tables, last = Run(tmp_path / "tables"), Run(tmp_path / "last")
    for run, name, read in (
        (tables, "significance/task_1", lambda: tables.significance),
        (tables, "significance/task_1", lambda: tables.layers),
        (tables, "masks/task_1", lambda: tables.masks),
        (tables, "checkpoints/task_3", lambda: tables.network(3)),
        (last, "significance/task_2", lambda: last.significance[2]),
        (last, "masks/task_1", lambda: last.masks[1]),
        (last, "checkpoints/task_1", lambda: last.network(1)),
    ):
        with pytest.raises(NotSavedError) as error:
            read()
        file = run.path / f"{name}.safetensors"
        assert (
            str(error.value) == f"{file} was not saved by the run: to have it, train the run with save=all, elsewhere"
        )
    assert list(last.significance) == list(last.masks) == [3]
    assert last.network(3)(torch.zeros(2, 64)).shape == (2, 10)
    with pytest.raises(KeyError):
        last.significance[4]


def test_one_that_was_killed_while_it_removed_them_ends_the_same(
    cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "remove_unsaved", lambda _: None)
        assert cl_run(*HERE, "seed=0,1", "method=ewc")[0] == 0
        assert cl_run(*QUICK, "hydra.run.dir=alone", "save=last", "plots=none")[0] == 0
    for place in ("sweep/0", "alone"):
        assert tensors(tmp_path / place) == of_tasks([1, 2])
        with pytest.raises(NotSavedError):
            load_run(tmp_path / place).network(1)
    before = contents(tmp_path / "sweep" / "1")
    code, _, error = cl_run(*HERE, "seed=0,1", "method=ewc")
    assert code == 0
    assert "2 finished before" in error
    after = contents(tmp_path / "sweep" / "1")
    assert after == {path: content for path, content in before.items() if path.suffix != ".safetensors"}
    assert not (tmp_path / "sweep" / "0" / "masks").exists()
    assert cl_run(*QUICK, "hydra.run.dir=alone", "save=last", "plots=none")[0] == 2
    assert tensors(tmp_path / "alone") == of_tasks([2])


def test_what_is_finished_stays_as_it_was_saved(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run(*HERE, "seed=0,1")[0] == 0
    assert cl_run(*HERE, "seed=2", "save=all")[0] == 0
    before = contents(tmp_path / "sweep" / "0"), contents(tmp_path / "sweep" / "2")
    code, _, error = cl_run(*HERE, "seed=0,1,2", "save=last")
    assert code == 0
    assert error.count("saved with less than save=last, and stay so") == 1
    code, _, error = cl_run(*HERE, "seed=0,1,2")
    assert code == 0
    assert "saved" not in error
    assert (contents(tmp_path / "sweep" / "0"), contents(tmp_path / "sweep" / "2")) == before


@pytest.mark.parametrize(
    ("benchmark", "needs_networks"), [(["method=global_mask"], set()), (["benchmark=regression"], {"fit.png"})]
)
def test_figures_need_no_tensors(
    benchmark: list[str], needs_networks: set[str], cl_run: Runner, tmp_path: Path
) -> None:
    small = ["benchmark.train_samples=60", "benchmark.tasks=2", "model.hidden=[8]"]
    short = ["train.epochs=null", "train.first_epochs=null", "train.iterations=3", "hydra.sweep.dir=sweep"]
    stacked = ["-m", "hydra/launcher=stacked", "hydra.launcher.workers=1", *small, *short]
    assert cl_run(*stacked, *benchmark, "plots=all")[0] == 0
    assert cl_run(*small, *short[:3], *benchmark, "hydra.run.dir=alone")[0] == 0
    drawn, wanted = (
        {path.name for path in place.glob("*.png")} for place in (tmp_path / "sweep/0", tmp_path / "alone")
    )
    assert drawn == wanted - needs_networks
    assert needs_networks <= wanted
    assert "significance_histograms.png" in drawn


def test_another_value(cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run("save=none")
    assert (code, error) == (2, "error: save: got none, allowed: one of auto, all, last, tables\n")
    assert not list(tmp_path.iterdir())
