"""Arrays of one's own, from the file to the tasks."""

import itertools
import json
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeArrays, MakeConfig
from test_cli import QUICK, Runner, cl_run
from test_resuming import SMALL, StopAt, same
from test_runner import Silent
from torchvision.transforms.functional import InterpolationMode, rotate

from cl_runner.benchmarks.base import Benchmark, make_benchmark
from cl_runner.config.plain_settings import checked_settings
from cl_runner.config.schema import Config
from cl_runner.errors import ConfigError, DataError, StoppedError
from cl_runner.results.run import load_run
from cl_runner.runs import loop
from cl_runner.runs.loop import run_stack
from cl_runner.sweeps import slurm
from cl_runner.sweeps.jobs import Job

__all__ = ["cl_run"]

Arrays = Mapping[str, np.ndarray]


def made(config: Config) -> Benchmark:
    """With nothing held out."""
    return make_benchmark(replace(config.benchmark, validation=None), config.data_dir, [config.seed], "cpu")


def samples(benchmark: Benchmark, task: int, split: str = "train") -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs `(n, D)` and labels of a task."""
    part = getattr(benchmark, split)
    (ids,) = part.samples([task])
    return part.inputs_of(ids[None], [task])[0].T, part.labels_of(ids[None])[0]


def drawn(shape: tuple[int, ...], classes: int = 3, dtype: str = "float32", seed: int = 0) -> dict[str, np.ndarray]:
    """Random arrays: 60 training and 30 test samples, as many of each class."""
    source, arrays = np.random.default_rng(seed), {}
    for split, count in (("train", 60), ("test", 30)):
        arrays[f"x_{split}"] = (255 * source.random((count, *shape))).astype(dtype)
        arrays[f"y_{split}"] = np.arange(count) % classes
    return arrays


@pytest.mark.parametrize("scenario", ["domain", "task", "class"])
@pytest.mark.parametrize("family", ["permuted", "split", "rotated"])
@pytest.mark.parametrize("normalize", ["true", "false"])
def test_digits_as_arrays_are_the_digits(
    family: str, scenario: str, normalize: str, make_config: MakeConfig, make_arrays: MakeArrays
) -> None:
    settings = [f"benchmark.family={family}", f"benchmark.scenario={scenario}", f"benchmark.normalize={normalize}"]
    settings += ["benchmark.train_samples=100", "benchmark.tasks=4", "benchmark.angles=random", "seed=3"]
    settings += ["benchmark.classes_per_task=2"] * (family == "split")
    own = make_config(*settings, "benchmark=arrays", f"benchmark.path={make_arrays()}")
    ours, theirs = made(own), made(make_config(*settings))
    assert own.benchmark.classes_per_task == (2 if family == "split" else 10)
    assert (ours.input_shape, ours.outputs) == (theirs.input_shape, theirs.outputs)
    assert ours.described(3) == theirs.described(3)
    for task, split in itertools.product(range(4), ("train", "test")):
        for one, other in zip(samples(ours, task, split), samples(theirs, task, split), strict=True):
            assert torch.equal(one, other)


def test_runs_on_digits_as_arrays_have_the_same_bits(
    make_config: MakeConfig, make_arrays: MakeArrays, tmp_path: Path
) -> None:
    settings = [*SMALL, "method=global_mask", "freeze=0.5", "seed=1"]
    arrays = ["benchmark=arrays", f"benchmark.path={make_arrays()}"]
    for name, more in (("digits", []), ("arrays", arrays)):
        run_stack([make_config(*more, *settings)], [tmp_path / name], Silent())
    same(tmp_path / "digits", tmp_path / "arrays")


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 4, 5)])
def test_inputs_of_any_shape(
    shape: tuple[int, ...], dtype: str, make_config: MakeConfig, make_arrays: MakeArrays
) -> None:
    arrays = drawn(shape, dtype=dtype)
    settings = ["benchmark=arrays", f"benchmark.path={make_arrays(**arrays)}", "benchmark.tasks=3"]
    plain = made(make_config(*settings, "benchmark.normalize=false"))
    assert plain.input_shape == ((1, *shape) if len(shape) == 2 else shape)
    assert plain.outputs == 3
    flat = torch.from_numpy(arrays["x_train"]).flatten(1).double()
    scaled = flat / flat.max() if dtype == "uint8" else flat
    first, labels = samples(plain, 0)
    torch.testing.assert_close(first.double(), scaled)
    assert labels.tolist() == arrays["y_train"].tolist()
    order = plain.described(0)[2]["permutation"]
    assert sorted(order) == list(range(flat.shape[1]))
    torch.testing.assert_close(samples(plain, 2)[0].double(), scaled[:, order])
    normal = samples(made(make_config(*settings)), 0)[0].double()
    torch.testing.assert_close(normal, (flat - flat.mean()) / flat.std(correction=0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (2, 6, 10), (1, 9, 4)])
def test_images_of_any_shape_are_rotated(
    shape: tuple[int, int, int], make_config: MakeConfig, make_arrays: MakeArrays
) -> None:
    arrays = drawn(shape)
    benchmark = made(
        make_config(
            "benchmark=arrays",
            "benchmark.family=rotated",
            f"benchmark.path={make_arrays(**arrays)}",
            "benchmark.tasks=4",
            "benchmark.max_angle=150",
            "benchmark.normalize=false",
        )
    )
    for task, angle in enumerate([0, 50, 100, 150]):
        expected = rotate(torch.from_numpy(arrays["x_train"]), angle, interpolation=InterpolationMode.BILINEAR)
        torch.testing.assert_close(samples(benchmark, task)[0], expected.flatten(1), atol=0.02, rtol=1e-3)


@pytest.mark.parametrize("scenario", ["domain", "task", "class"])
def test_tasks_that_the_file_gives(scenario: str, make_config: MakeConfig, make_arrays: MakeArrays) -> None:
    arrays = drawn((5,)) | {"t_train": np.arange(60) // 7 % 4, "t_test": np.arange(30) // 4 % 4}
    settings = ["benchmark=arrays", "benchmark.family=given", f"benchmark.scenario={scenario}", "benchmark.tasks=3"]
    benchmark = made(make_config(*settings, f"benchmark.path={make_arrays(**arrays)}", "benchmark.normalize=false"))
    assert benchmark.described(0) == [{"task_id": 0}, {"task_id": 1}, {"task_id": 2}]
    assert benchmark.outputs == (3 if scenario == "domain" else 9)
    for task, split in itertools.product(range(3), ("train", "test")):
        own = arrays[f"t_{split}"] == task
        inputs, labels = samples(benchmark, task, split)
        assert np.array_equal(inputs, arrays[f"x_{split}"][own])
        assert labels.tolist() == [label + 3 * task * (scenario != "domain") for label in arrays[f"y_{split}"][own]]


X, Y = np.zeros((4, 6), "float32"), np.array([0, 1, 0, 1])


def _with(value: float) -> np.ndarray:
    changed = X.copy()
    changed[2, 3] = value
    return changed


BAD: list[tuple[dict[str, Any], str]] = [
    ({"y_test": None}, r"which has no y_test, allowed: an npz file with x_train, y_train, x_test, y_test"),
    ({"t_train": Y}, r"which has no t_test"),
    ({"y_train": Y[:3]}, r"whose y_train has the shape \(3,\) and x_train \(4, 6\), allowed: one entry of y_train"),
    ({"t_train": Y, "t_test": Y[:2]}, r"whose t_test has the shape \(2,\)"),
    ({"y_test": Y[:, None]}, r"whose y_test has the shape \(4, 1\)"),
    ({"x_train": _with(np.nan)}, r"whose x_train holds NaN or infinity, allowed: finite numbers"),
    ({"x_test": _with(-np.inf)}, r"whose x_test holds NaN or infinity"),
    ({"x_train": X.astype("float64")}, r"whose x_train is of float64, allowed: uint8 or float32"),
    ({"x_train": X.astype(">f4")}, r"whose x_train is of >f4"),
    ({"x_train": X[0]}, r"whose x_train has the shape \(6,\), allowed: vectors \(N, D\), or images"),
    ({"x_train": X[:0], "y_train": Y[:0]}, r"whose x_train has the shape \(0, 6\), allowed: at least one sample"),
    ({"x_test": X[:, :5]}, r"whose x_train holds \(6,\) of float32 and x_test \(5,\) of float32"),
    ({"x_test": X.astype("uint8")}, r"whose x_train holds \(6,\) of float32 and x_test \(6,\) of uint8"),
    ({"y_train": Y.astype(float)}, r"whose y_train is of float64, allowed: labels that are integers"),
    ({"y_train": Y > 0}, r"whose y_train is of bool"),
    ({"y_train": Y - 1}, r"whose y_train holds -1, allowed: labels from 0"),
    ({"y_test": 2 * Y}, r"whose y_test holds 2 but no 1, allowed: labels from 0 without gaps"),
    ({"y_train": np.array([0, 1, 2, 2])}, r"whose y_train holds 3 labels and y_test 2, allowed: the same in both"),
    ({"y_train": 0 * Y, "y_test": 0 * Y}, r"whose y_train holds one class, allowed: at least 2"),
    ({"t_train": 2 * Y, "t_test": Y}, r"whose t_train holds 2 but no 1, allowed: task ids from 0 without gaps"),
    ({"t_train": Y, "t_test": 0 * Y}, r"whose t_train holds 2 task ids and t_test 1"),
]


@pytest.mark.parametrize(("wrong", "words"), BAD)
def test_a_bad_file_is_refused(
    wrong: dict[str, Any], words: str, make_config: MakeConfig, make_arrays: MakeArrays
) -> None:
    file = make_arrays(**({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y} | wrong))
    with pytest.raises(ConfigError, match=rf"^benchmark\.path: got {file}, {words}"):
        make_config("benchmark=arrays", f"benchmark.path={file}")


class Trap:
    """Says so where it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("unpickled",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nothing", r"which cannot be read \(No such file or directory\), allowed: an npz file"),
        ("folder", r"which is no file, allowed: an npz file"),
        ("text", r"which is no npz file, allowed: an npz file with x_train"),
        ("pickle", r"which is no npz file"),
        ("npy", r"which holds one array"),
        ("half", r"which is no npz file"),
        ("object", r"whose y_train cannot be read \(Object arrays cannot be loaded when allow_pickle=False\)"),
        ("variable", r"names a variable that is not set here"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    content: str, words: str, make_config: MakeConfig, make_arrays: MakeArrays, capsys: pytest.CaptureFixture[str]
) -> None:
    file = make_arrays(y_train=np.array([Trap()])) if content == "object" else make_arrays()
    if content in ("nothing", "folder"):
        file.unlink()
    if content == "folder":
        file.mkdir()
    elif content == "text":
        file.write_text("x_train")
    elif content == "pickle":
        file.write_bytes(pickle.dumps(Trap()))
    elif content == "npy":
        with file.open("wb") as opened:
            np.save(opened, X)
    elif content == "half":
        file.write_bytes(file.read_bytes()[:5000])
    elif content == "variable":
        file = Path("$NOWHERE/digits.npz")
    with pytest.raises(ConfigError, match=rf"^benchmark\.path: .*{words}"):
        make_config("benchmark=arrays", f"benchmark.path='{file}'")
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            ["benchmark.family=rotated"],
            r"benchmark\.family: got rotated, but .* holds vectors, allowed: permuted",
        ),
        (["benchmark.family=given"], r"benchmark\.family: got given, but .* has no t_train and t_test, allowed"),
        (["benchmark.family=split"], r"benchmark\.classes_per_task: got null, allowed: at least 2 in a split task"),
        (["benchmark.classes_per_task=2"], r"benchmark\.classes_per_task: got 2, allowed: 3, or null"),
        (["benchmark.family=split", "benchmark.classes_per_task=2"], r"benchmark\.tasks: got 5 .*at most 3 classes"),
        (["benchmark.train_samples=58"], r"benchmark\.train_samples: got 58, allowed: at most 57, or null for all 60"),
        (["benchmark.test_samples=2"], r"benchmark\.test_samples: got 2, allowed: at least 3, or null for all 30"),
        (
            ["benchmark.sha256=abc"],
            r"benchmark\.sha256: got abc with .*, allowed: [0-9a-f]{64} or null",
        ),
        (["benchmark.input_shape=[4]"], r"benchmark\.input_shape: got \[4\] with .*, allowed: \[6\] or null"),
        (["benchmark.path=null"], r"benchmark\.path: got null with benchmark\.dataset=arrays, allowed: an npz file"),
    ],
)
def test_settings_that_do_not_fit_the_file(
    settings: list[str], words: str, make_config: MakeConfig, make_arrays: MakeArrays
) -> None:
    with pytest.raises(ConfigError, match=f"^{words}"):
        make_config("benchmark=arrays", f"benchmark.path={make_arrays(**drawn((6,)))}", *settings)


def test_settings_that_do_not_fit_given_tasks(make_config: MakeConfig, make_arrays: MakeArrays) -> None:
    given = ["benchmark=arrays", "benchmark.family=given", f"benchmark.path={make_arrays(tasks=4)}"]
    with pytest.raises(ConfigError, match=r"^benchmark\.tasks: got 5, allowed: at most 4, the task ids in"):
        make_config(*given)
    with pytest.raises(ConfigError, match=r"^benchmark\.train_samples: got 50, allowed: null for all"):
        make_config(*given, "benchmark.tasks=4", "benchmark.train_samples=50")
    with pytest.raises(ConfigError, match=r"^benchmark\.dataset: got digits, allowed: arrays \(benchmark\.family"):
        make_config("benchmark.family=given")


def test_a_class_with_one_sample_has_no_stratified_subset(make_config: MakeConfig, make_arrays: MakeArrays) -> None:
    arrays = drawn((6,)) | {"y_train": np.minimum(np.arange(60) % 3, 1)}
    arrays["y_train"][0] = 2
    file = make_arrays(**arrays)
    assert make_config("benchmark=arrays", f"benchmark.path={file}").benchmark.classes == 3
    with pytest.raises(ConfigError, match=r"benchmark\.train_samples: got 20, allowed: null, as a class has one"):
        make_config("benchmark=arrays", f"benchmark.path={file}", "benchmark.train_samples=20")


def test_a_bad_file_is_refused_before_anything_is_created(cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run("benchmark=arrays", "benchmark.path=none.npz")
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith("error: benchmark.path: got none.npz, which cannot be read (No such file")
    code, _, error = cl_run("benchmark=arrays")
    assert (code, error) == (2, "error: benchmark.path: got nothing, allowed: a path to an npz file, or null\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("launcher", [[], ["-m", "hydra/launcher=stacked", "hydra.launcher.workers=1", "seed=0,1"]])
@pytest.mark.parametrize("path", ["digits.npz", "$ARRAYS/digits.npz", "~/digits.npz"])
def test_a_path_is_one_of_where_the_command_was_started(
    path: str,
    launcher: list[str],
    cl_run: Runner,
    make_arrays: MakeArrays,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_arrays()
    monkeypatch.setenv("ARRAYS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    places = ["hydra.run.dir=runs/0", "hydra.sweep.dir=runs", "hydra.job.chdir=true"]
    code, _, error = cl_run(*launcher, *places, "benchmark=arrays", f"benchmark.path={path}", *QUICK)
    assert (code, error) == (0, "") or (launcher and code == 0)
    run = load_run(tmp_path / "runs" / "0")
    recorded = json.loads((run.path / "run.json").read_text())["settings"]["benchmark"]
    assert len(recorded["sha256"]) == 64
    assert recorded["sha256"] == run.config.benchmark.sha256


def test_a_run_is_taken_up_with_the_same_arrays_only(
    make_config: MakeConfig, make_arrays: MakeArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cl_run: Runner
) -> None:
    settings = [*SMALL, "benchmark=arrays"]
    file = make_arrays()
    run_stack([make_config(*settings, f"benchmark.path={file}")], [tmp_path / "whole"], Silent())
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "Pauses", StopAt)
        patch.setattr(StopAt, "count", itertools.count())
        patch.setattr(StopAt, "last", 5)
        with pytest.raises(StoppedError):
            run_stack([make_config(*settings, f"benchmark.path={file}")], [stopped], Silent())
    moved = file.rename(tmp_path / "moved.npz")
    other = make_arrays(y_train=np.load(moved)["y_train"][::-1])
    code, _, error = cl_run(f"hydra.run.dir={stopped}", *settings, f"benchmark.path={other}")
    assert code == 2
    assert error.startswith("error: benchmark.sha256: got ")
    assert f"but {stopped} holds an unfinished run with " in error
    run_stack([make_config(*settings, f"benchmark.path={moved}")], [stopped], Silent())
    same(tmp_path / "whole", stopped)


def test_a_file_that_changes_after_its_check_is_refused(make_config: MakeConfig, make_arrays: MakeArrays) -> None:
    config = make_config("benchmark=arrays", f"benchmark.path={make_arrays()}")
    make_arrays(**drawn((6,)))
    with pytest.raises(DataError, match="is another file than its run was begun with"):
        made(config)


def test_no_torch_is_needed_to_refuse_a_file(make_arrays: MakeArrays) -> None:
    script = (
        "import sys; from cl_runner.config.arrays import array_file; array_file(sys.argv[1]); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(make_arrays())], check=False).returncode == 0


def test_the_example_of_the_page(cl_run: Runner, tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    writing, *_, reading = (block.split("```")[0] for block in page.split("```python\n")[1:])
    subprocess.run([sys.executable, "-c", writing], check=True)
    commands = [line.split()[1:] for line in page.splitlines() if line.startswith("    cl-run benchmark=arrays")]
    assert len(commands) == 2
    for number, command in enumerate(commands):
        assert cl_run(*command, f"hydra.run.dir={number}", "train.epochs=3", "plots=none")[0] == 0
    found: dict[str, Any] = {}
    exec(reading.replace("outputs/DATE/TIME", "0"), found)
    assert found["accuracy"].item() == pytest.approx(load_run(tmp_path / "0").matrix[2, 1])


def test_what_the_data_say_is_recorded(make_config: MakeConfig, make_arrays: MakeArrays) -> None:
    settings = asdict(make_config("benchmark=arrays", f"benchmark.path={make_arrays()}"))
    assert settings["benchmark"]["classes_per_task"] == 10
    settings["benchmark"]["classes_per_task"] = None
    with pytest.raises(ConfigError, match=r"^benchmark\.classes_per_task: got None, allowed: an integer"):
        checked_settings(settings)


def test_a_cluster_is_given_the_whole_path(
    make_config: MakeConfig, make_arrays: MakeArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_arrays()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARRAYS", str(tmp_path))
    for path, expected in (("digits.npz", str(tmp_path / "digits.npz")), ("$ARRAYS/digits.npz", "$ARRAYS/digits.npz")):
        config = make_config("benchmark=arrays", f"benchmark.path={path}")
        (job,) = slurm._at_absolute_paths([Job(0, config, tmp_path)])
        assert job.config.benchmark.path == expected
