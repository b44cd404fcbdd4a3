"""Classes of one's own as benchmarks."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import own_data
import pytest
import torch
from conftest import MakeConfig
from own_data import Waves
from test_arrays import made, samples
from test_cli import Runner, cl_run
from test_resuming import same
from test_runner import Silent

from cl_runner import load_run
from cl_runner.errors import ConfigError, DataError
from cl_runner.runs.drawing import draw_all
from cl_runner.runs.loop import run_stack

__all__ = ["cl_run"]

WAVES = ["benchmark=own", "benchmark.target=own_data.Waves", "benchmark.input_shape=[6]", "benchmark.tasks=3"]
WAVES += [
    "benchmark.classes_per_task=3",
    "benchmark.validation=null",
    "model.hidden=[8]",
    "train.epochs=2",
    "train.batch_size=16",
]


@pytest.mark.parametrize("scenario", ["domain", "task", "class"])
def test_tasks_are_what_the_class_gives(scenario: str, make_config: MakeConfig) -> None:
    config = make_config(*WAVES, f"benchmark.scenario={scenario}", "+benchmark.arguments.noise=0.5", "seed=2")
    benchmark = made(config)
    assert benchmark.outputs == (3 if scenario == "domain" else 9)
    for number in range(3):
        first = 0 if scenario == "domain" else 3 * number
        for split, (inputs, labels) in zip(
            ("train", "test"), Waves(config.benchmark, [2]).task(number, 2, noise=0.5), strict=True
        ):
            found = samples(benchmark, number, split)
            assert np.array_equal(found[0], inputs.astype("float32"))
            assert found[1].tolist() == (labels + first).tolist()
        assert (
            benchmark.active_outputs(number, 2)
            == {
                "domain": slice(0, 3),
                "task": slice(first, first + 3),
                "class": slice(0, max(6, first + 3)),
            }[scenario]
        )


def test_streams_keep_their_samples_among_others(make_config: MakeConfig) -> None:
    config = make_config(*WAVES, "benchmark.scenario=task")
    among = Waves(config.benchmark, [4, 2, 5])
    for benchmark, stream in ((Waves(config.benchmark, [2]), 0), (among, 1), (among.of_streams([5, 2]), 1)):
        for tasks in ([1], [0, 1, 2]):
            ids = benchmark.train.samples(tasks)
            assert [len(part) for part in ids] == [45 if tasks == [1] else 135] * len(benchmark.seeds)
            both = torch.stack(ids)
            inputs, labels = benchmark.train.inputs_of(both, tasks)[stream].T, benchmark.train.labels_of(both)[stream]
            expected = [benchmark.task(task, 2)[0] for task in tasks]
            assert np.array_equal(inputs, np.concatenate([x for x, _ in expected]).astype("float32"))
            outputs = [3 * task + y for task, (_, y) in zip(tasks, expected, strict=True)]
            assert labels.tolist() == np.concatenate(outputs).tolist()
            masked = benchmark.train.mask_inactive(torch.zeros(len(ids), 9, both.shape[1]), both, tasks, 3)
            heads = (masked[stream] == 0).nonzero()[:, 0].view(-1, 1) // 3
            assert set(heads.flatten().tolist()) == set(tasks)


def test_a_subset_is_the_first_samples(make_config: MakeConfig) -> None:
    benchmark = made(make_config(*WAVES, "benchmark.train_samples=7", "benchmark.test_samples=1000"))
    assert [len(samples(benchmark, 2, split)[1]) for split in ("train", "test")] == [7, 20]


@pytest.mark.parametrize("scenario", ["domain", "task", "class"])
def test_runs_give_their_samples_back(scenario: str, make_config: MakeConfig, tmp_path: Path) -> None:
    configs = [make_config(*WAVES, f"benchmark.scenario={scenario}", f"seed={seed}") for seed in (0, 1)]
    run_stack(configs, [tmp_path / "0", tmp_path / "1"], Silent())
    run_stack(configs[1:], [tmp_path / "alone"], Silent())
    same(tmp_path / "1", tmp_path / "alone")
    run = load_run(tmp_path / "1")
    for task in (1, 2, 3):
        inputs, labels = run.benchmark().test(task)
        active = run.benchmark().active_outputs(task, after=3)
        predicted = run.network(3)(inputs)[:, active].argmax(1) + active.start
        assert (predicted == labels).double().mean().item() == pytest.approx(run.matrix[3, task - 1], abs=1e-6)
    assert run.tasks == {1: {}, 2: {}, 3: {}}
    file = Path(own_data.__file__)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert run.facts["sessions"][0]["own_code"] == {"own_data.Waves": {"file": str(file), "sha256": digest}}


def test_a_regression(make_config: MakeConfig, tmp_path: Path) -> None:
    lines = ["benchmark.target=own_data.Lines", "benchmark.input_shape=[2]", "benchmark.classes_per_task=1"]
    config = make_config(*WAVES, *lines)
    draw_all([config], run_stack([config], [tmp_path], Silent()))
    run = load_run(tmp_path)
    assert run.score == "mse"
    inputs, labels = run.benchmark().test(3)
    torch.testing.assert_close(labels, 3 * inputs[:, 0])
    assert (run.network(2)(inputs)[:, 0] - labels).square().mean().item() == pytest.approx(run.matrix[2, 2], rel=1e-4)
    assert run.tasks[2] == {"slope": 2}
    assert not (tmp_path / "fit.png").exists()


def test_a_class_that_satisfies_the_protocol(make_config: MakeConfig, tmp_path: Path) -> None:
    small = ["benchmark.tasks=2", "model.hidden=[8]", "train.epochs=1"]
    subset = ["benchmark.train_samples=60", "benchmark.test_samples=60"]
    own = ["benchmark=own", "benchmark.target=own_data.Digits", "benchmark.input_shape=[1,8,8]"]
    own += ["benchmark.classes_per_task=10", "benchmark.normalize=true"]
    run_stack([make_config(*own, *small)], [tmp_path / "own"], Silent())
    run_stack([make_config(*subset, *small)], [tmp_path / "digits"], Silent())
    same(tmp_path / "own", tmp_path / "digits")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["benchmark.target=null"], r"benchmark\.target: got null with benchmark\.family=own, allowed: a dotted name"),
        (["benchmark.target=Waves"], r"benchmark\.target: got Waves, allowed: a dotted name"),
        (["benchmark.target=own_data.Wave"], r"benchmark\.target: got own_data\.Wave, .*which has no Wave"),
        (["benchmark.target=nowhere.Waves"], r"benchmark\.target: got nowhere\.Waves, .*there is no module nowhere"),
        (["benchmark.target=own_data.waves"], r"benchmark\.target: got own_data\.waves, which is no class"),
        (["benchmark.target=own_data.Empty"], r"benchmark\.target: got own_data\.Empty, which has no method task"),
        (["+benchmark.arguments.widht=3"], r"benchmark\.arguments: got {'widht': 3}, .*unexpected .*'widht'"),
        (
            ["benchmark.target=own_data.Digits", "+benchmark.arguments.sample=3"],
            r"benchmark\.arguments: got {'sample': 3}, allowed: those of own_data\.Digits: .*unexpected .*'sample'",
        ),
        (
            ["+benchmark.arguments.noise=nan"],
            r"benchmark\.arguments: got {'noise': nan}, allowed: a mapping of words to plain values",
        ),
        (["benchmark.classes_per_task=null"], r"benchmark\.classes_per_task: got null with .*, allowed: an integer"),
        (["benchmark.input_shape=null"], r"benchmark\.input_shape: got null with .*, allowed: a list of integers"),
        (["benchmark.input_shape=[0]"], r"benchmark\.input_shape: got \[0\], allowed: a list of integers"),
        (["benchmark.dataset=digits"], r"benchmark\.dataset: got digits, allowed: own"),
        (["benchmark.family=split"], r"benchmark\.family: got split, allowed: own"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_created(
    settings: list[str], words: str, make_config: MakeConfig
) -> None:
    with pytest.raises(ConfigError, match=f"^{words}"):
        make_config(*WAVES, *settings)


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("raises", r"fails: KeyError: 'nowhere' \(.*own_data\.py, line \d+\)"),
        ("one", r"gives ndarray that is not two pairs of arrays, allowed: \(inputs, labels\)"),
        ("none", r"gives NoneType that is not two pairs of arrays"),
        ("ragged", r"gives tuple that is not two pairs of arrays"),
        ("shape", r"gives inputs of the shape \(40, 5\), allowed: \(n, 6\), by benchmark\.input_shape"),
        ("empty", r"gives inputs of the shape \(0, 6\)"),
        ("infinite", r"gives inputs with NaN or infinity, allowed: finite numbers"),
        ("length", r"gives labels of the shape \(7,\), allowed: \(40,\)"),
        ("float", r"gives labels of torch\.float64, allowed: integers"),
        ("high", r"gives labels from 1 to 3, allowed: 0 to 2, by benchmark\.classes_per_task"),
        ("low", r"gives labels from -1 to 1"),
    ],
)
def test_a_task_that_does_not_fit_is_told_in_a_line(way: str, words: str, make_config: MakeConfig) -> None:
    config = make_config(*WAVES, "benchmark.target=own_data.Wrong", f"+benchmark.arguments.way={way}")
    with pytest.raises(DataError, match=rf"^benchmark\.target: Wrong\.task\(0, seed=0\) {words}"):
        made(config)


def test_a_class_with_other_sizes_than_its_settings(make_config: MakeConfig) -> None:
    digits = ["benchmark=own", "benchmark.target=own_data.Digits", "benchmark.classes_per_task=10"]
    with pytest.raises(DataError, match=r"own_data\.Digits has input_shape \(1, 8, 8\), allowed: \(64,\), by settings"):
        made(make_config(*digits, "benchmark.input_shape=[64]"))


def test_seeds_whose_tasks_differ_in_size_share_a_stack(make_config: MakeConfig, tmp_path: Path) -> None:
    uneven = [*WAVES, "benchmark.target=own_data.Uneven"]
    configs = [make_config(*uneven, f"seed={seed}") for seed in (0, 1)]
    run_stack(configs, [tmp_path / "0", tmp_path / "1"], Silent())
    for seed, config in enumerate(configs):
        run_stack([config], [tmp_path / "alone" / str(seed)], Silent())
        same(tmp_path / str(seed), tmp_path / "alone" / str(seed))


def test_another_class_or_argument_is_another_run(make_config: MakeConfig) -> None:
    from cl_runner.methods.acting import acting_settings, unused_settings

    plain = acting_settings(make_config(*WAVES))
    assert acting_settings(make_config(*WAVES, "+benchmark.arguments.noise=0.2")) != plain
    assert acting_settings(make_config(*WAVES, "benchmark.target=own_data.Uneven")) != plain
    given = ["benchmark.target=own_data.Waves", "+benchmark.arguments.noise=1", "benchmark.sha256=a"]
    assert len(unused_settings(make_config(*given), given)) == 3
    assert acting_settings(make_config(*given)) == acting_settings(make_config())


def test_the_example_of_the_page(cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    own = page.partition("## A class of your own")[2]
    for kind, name in (("python", "streams.py"), ("yaml", "benchmark/blobs.yaml")):
        file = tmp_path / "mine" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(own.partition(f"```{kind}\n")[2].partition("```")[0])
    monkeypatch.setattr(sys, "path", [*sys.path])
    commands = [line.split()[1:] for line in own.splitlines() if line.startswith("    cl-run ")]
    assert len(commands) == 2
    for number, command in enumerate(commands):
        assert cl_run(*command, f"hydra.run.dir={number}", "train.epochs=3", "plots=none")[0] == 0
    run = load_run(tmp_path / "0")
    assert run.config.benchmark.arguments == {"spread": 0.4}
    assert run.matrix[4, 3] > 0.6
    assert load_run(tmp_path / "1").config.benchmark.arguments == {"spread": 0.2}
    for module in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        monkeypatch.delitem(sys.modules, module)


def test_swept_as_a_stack(cl_run: Runner, tmp_path: Path) -> None:
    sweep = ["hydra/launcher=stacked", "hydra.launcher.workers=1", "hydra.sweep.dir=sweep", "seed=0,1", "save=last"]
    assert cl_run("-m", *WAVES, *sweep)[0] == 0
    assert cl_run(*WAVES, "hydra.run.dir=alone", "seed=1", "plots=none")[0] == 0
    runs = [load_run(tmp_path / place) for place in ("sweep/1", "alone")]
    assert runs[0].facts["runs_in_stack"] == 2
    for one, other in zip(*(run.network(3).parameters() for run in runs), strict=True):
        assert torch.equal(one, other)
