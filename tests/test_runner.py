"""What a run leaves behind, seen from outside."""

import csv
import errno
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeConfig
from safetensors.torch import load_file

import cl_runner
from cl_runner.benchmarks.datasets import load_dataset
from cl_runner.benchmarks.images import ImageBenchmark
from cl_runner.cli.main import main
from cl_runner.engine.mlp import MLPStack
from cl_runner.errors import ResourceError
from cl_runner.methods.titles import describe
from cl_runner.results.record import begin_session
from cl_runner.results.run import Run, load_run
from cl_runner.results.significance import BIN_WIDTH
from cl_runner.runs import rows as rows_of_runs
from cl_runner.runs.evaluation import Score, Scores
from cl_runner.runs.fisher import fisher_diagonal
from cl_runner.runs.loop import run_stack
from cl_runner.runs.recorder import Recorder
from cl_runner.runs.training import Epoch

TASKS, EPOCHS, HIDDEN, FREEZE = 3, 4, [12, 10], 0.3
SHAPES = [(64, 12), (12, 10), (10, 10)]
OVERRIDES = [
    f"benchmark.tasks={TASKS}",
    "benchmark.train_samples=200",
    f"train.epochs={EPOCHS}",
    "train.curve_points=2",
    f"model.hidden={HIDDEN}".replace(" ", ""),
    "method=l1_sparsity",
    "method.l1_lambda=1.0",
    f"freeze={FREEZE}",
    "seed=3",
]


class Silent:
    def epoch(self, task: int, tasks: int, epoch: Epoch) -> None: ...

    def task(self, task: int, tasks: int, scores: object) -> None: ...


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setattr(sys, "argv", ["cl-run", "hydra.run.dir=here", *OVERRIDES])
        patch.setenv("HYDRA_FULL_ERROR", "0")
        assert main() == 0
    found: Run = cl_runner.load_run(directory / "here")
    return found


def rows(run: Run, name: str) -> list[dict[str, str]]:
    with (run.path / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_is_there_and_no_other(run: Run) -> None:
    folders = ["checkpoints", "masks", "significance"]
    expected = {
        ".hydra/config.yaml",
        ".hydra/hydra.yaml",
        ".hydra/overrides.yaml",
        "cl_runner.log",
        ".lock",
        "accuracy.csv",
        "accuracy_matrix.csv",
        "accuracy_matrix.png",
        "layers.csv",
        "learning_curves.csv",
        "mask_overlap.csv",
        "mask_overlap.png",
        "metrics.json",
        "run.json",
        "significance.csv",
        "significance_histograms.csv",
        "significance_histograms.png",
        "tasks.json",
        "training.csv",
        "training.png",
    }
    expected |= {f"{folder}/task_{task}.safetensors" for folder in folders for task in range(1, TASKS + 1)}
    assert {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()} == expected


def test_accuracy_in_long_form_and_as_a_matrix(run: Run) -> None:
    long = rows(run, "accuracy.csv")
    splits = [f"{split}{name}" for split in ("", "validation_") for name in ("accuracy", "loss", "samples")]
    assert list(long[0]) == ["after_task", "eval_task", *splits]
    pairs = [(int(row["after_task"]), int(row["eval_task"])) for row in long]
    assert pairs == [(after, on) for after in range(TASKS + 1) for on in range(1, TASKS + 1)]
    assert {row["samples"] for row in long} == {"500"}
    matrix = [[float(row[f"task_{task}"]) for task in range(1, TASKS + 1)] for row in rows(run, "accuracy_matrix.csv")]
    assert np.array_equal(run.matrix[1:], np.array(matrix))
    # Shares of 500 test images.
    assert np.allclose(run.matrix * 500, np.round(run.matrix * 500), atol=1e-6)


def test_metrics_are_of_the_matrix(run: Run) -> None:
    assert run.metrics["average_accuracy"] == pytest.approx(run.matrix[-1].mean())
    assert run.metrics["learning_accuracy"] == pytest.approx(np.diagonal(run.matrix[1:]).mean())
    assert run.metrics["per_task"]["average_accuracy"] == pytest.approx(run.matrix[-1].tolist())
    assert set(run.metrics) == {
        "average_accuracy",
        "learning_accuracy",
        "backward_transfer",
        "forward_transfer",
        "average_forgetting",
        "per_task",
        "validation",
    }
    assert run.validation_matrix is not None
    assert run.metrics["validation"]["average_accuracy"] == pytest.approx(run.validation_matrix[-1].mean())


def test_networks_reproduce_the_accuracy(run: Run, make_config: MakeConfig) -> None:
    config = make_config(*OVERRIDES)
    benchmark = ImageBenchmark(config.benchmark, load_dataset("digits", "", 200), [config.seed])
    for after in range(1, TASKS + 1):
        network = run.network(task=after)
        assert isinstance(network, torch.nn.Module)
        for task in range(TASKS):
            ids = benchmark.test.samples([task])[0][None]
            predicted = network(benchmark.test.inputs_of(ids, [task])[0].T).argmax(1)
            accuracy = (predicted == benchmark.test.labels_of(ids)[0]).double().mean().item()
            assert accuracy == pytest.approx(run.matrix[after, task])


def test_significance_is_the_fisher_diagonal_of_the_checkpoint(run: Run, make_config: MakeConfig) -> None:
    config = make_config(*OVERRIDES)
    benchmark = ImageBenchmark(config.benchmark, load_dataset("digits", "", 200, None, 0.1), [config.seed])
    stack = MLPStack([64, *HIDDEN, 10], "relu", [config.seed])
    for task in range(1, TASKS + 1):
        for name, tensor in stack.layout.named(stack.parameters, 0).items():
            tensor.copy_(run.network(task).state_dict()[name])
        expected = stack.layout.named(fisher_diagonal(stack, benchmark, task - 1, config.fisher), 0)
        assert list(run.significance[task]) == list(expected)
        for name, tensor in expected.items():
            torch.testing.assert_close(run.significance[task][name], tensor)


def test_masks_freeze_what_was_significant(run: Run) -> None:
    assert all((mask == 1).all() for mask in run.masks[1].values())
    for task in range(2, TASKS + 1):
        before, after = run.network(task - 1).state_dict(), run.network(task).state_dict()
        for number, (into, out) in enumerate(SHAPES):
            frozen = 0
            for kind in ("weight", "bias"):
                name = f"layers.{number}.{kind}"
                mask = run.masks[task][name] == 0
                frozen += int(mask.sum())
                assert torch.equal(before[name][mask], after[name][mask])
            assert frozen == round(FREEZE * out * (into + 1))


def test_layers_csv_counts(run: Run) -> None:
    found = rows(run, "layers.csv")
    assert len(found) == TASKS * len(SHAPES)
    zeros = 0
    for row in found:
        task, layer = int(row["task"]), int(row["layer"])
        into, out = SHAPES[layer]
        weight = run.network(task).state_dict()[f"layers.{layer}.weight"]
        assert int(row["parameters"]) == out * (into + 1)
        assert int(row["frozen"]) == (0 if task == 1 else round(FREEZE * out * (into + 1)))
        assert int(row["zero_weights"]) == int((weight == 0).sum())
        assert float(row["l1_norm"]) == pytest.approx(float(weight.abs().sum()), rel=1e-5)
        zeros += int(row["zero_weights"])
    assert zeros > 0


def test_mask_overlap_csv(run: Run) -> None:
    found = rows(run, "mask_overlap.csv")
    assert list(found[0]) == ["task", "other", "layer", "jaccard", "chance"]
    pairs = [(row["task"], row["other"], row["layer"]) for row in found]
    assert pairs == [(*pair, layer) for pair in (("1", "2"), ("1", "3"), ("2", "3")) for layer in "012"]
    # The mask that was used for tasks 2 and 3 is the one of tasks 1 and 2.
    for row, (into, out) in zip(found[:3], SHAPES, strict=True):
        names = [f"layers.{row['layer']}.{kind}" for kind in ("weight", "bias")]
        first, second = (torch.cat([run.masks[task][name].flatten() for name in names]) == 0 for task in (2, 3))
        assert float(row["jaccard"]) == pytest.approx(float((first & second).sum() / (first | second).sum()), rel=1e-6)
        share = round(FREEZE * out * (into + 1)) / (out * (into + 1))
        assert float(row["chance"]) == pytest.approx(share / (2 - share), rel=1e-6)


@pytest.mark.parametrize(
    "overrides", [["method=ewc"], ["method=global_mask", "freeze=0"], ["method=global_mask", "benchmark.tasks=1"]]
)
def test_there_is_no_overlap_of_fewer_than_two_masks(
    overrides: list[str], make_config: MakeConfig, tmp_path: Path
) -> None:
    for name in ("mask_overlap.csv", "mask_overlap.png"):
        # As if left by an unfinished run with other settings.
        (tmp_path / name).write_text("")
    short = ["benchmark.tasks=2", "benchmark.train_samples=50", "train.epochs=1", "model.hidden=[5]"]
    run_stack([make_config(*short, *overrides)], [tmp_path], Silent())
    assert not list(tmp_path.glob("mask_overlap.*"))


def test_tasks_json_says_what_each_task_is(run: Run, make_config: MakeConfig, tmp_path: Path) -> None:
    assert list(run.tasks) == [1, 2, 3]
    assert run.tasks[1]["permutation"] == list(range(64))
    assert sorted(run.tasks[2]["permutation"]) == list(range(64))
    short = ["benchmark.tasks=2", "benchmark.train_samples=60", "train.epochs=1", "model.hidden=[5]"]
    split = [make_config("benchmark=split_digits", *short, f"seed={seed}") for seed in (0, 1)]
    for config in (*split, make_config("benchmark=regression", *short)):
        name = f"{config.benchmark.name}{config.seed}"
        run_stack([config], [tmp_path / name], Silent())
    classes = [[task["classes"] for task in Run(tmp_path / f"split_digits{seed}").tasks.values()] for seed in (0, 1)]
    assert classes[0] != classes[1]
    assert all(len({number for task in drawn for number in task}) == 4 for drawn in classes)
    assert Run(tmp_path / "regression0").tasks == {1: {"interval": [-1.5, 0.0]}, 2: {"interval": [0.0, 1.5]}}


@pytest.mark.parametrize(("scenario", "given"), [("domain", True), ("task", False), ("class", False)])
def test_forward_transfer_is_of_shared_outputs(
    scenario: str, given: bool, make_config: MakeConfig, tmp_path: Path
) -> None:
    short = ["benchmark.tasks=2", "benchmark.train_samples=60", "train.epochs=1", "model.hidden=[5]"]
    run_stack([make_config("benchmark=split_digits", *short, f"benchmark.scenario={scenario}")], [tmp_path], Silent())
    assert (load_run(tmp_path).metrics["forward_transfer"] is not None) is given


def test_significance_csv(run: Run) -> None:
    found = rows(run, "significance.csv")
    assert len(found) == TASKS * len(SHAPES)
    for row in found:
        tensors = run.significance[int(row["task"])]
        values = np.concatenate(
            [tensors[f"layers.{row['layer']}.{kind}"].numpy().ravel() for kind in ("weight", "bias")]
        )
        logs = np.log10(values[values > 0].astype(np.float64))
        assert float(row["median"]) == pytest.approx(np.median(logs), rel=1e-5)
        assert float(row["p95"]) == pytest.approx(np.percentile(logs, 95), rel=1e-5)
        assert float(row["zero_share"]) == pytest.approx((values == 0).mean())


def test_significance_histograms_csv(run: Run) -> None:
    found = rows(run, "significance_histograms.csv")
    assert list(found[0]) == ["task", "layer", "low", "count"]
    for task, layer in {(row["task"], row["layer"]) for row in found}:
        tensors = run.significance[int(task)]
        values = np.concatenate([tensors[f"layers.{layer}.{kind}"].numpy().ravel() for kind in ("weight", "bias")])
        logs = np.log10(values[values > 0].astype(np.float64))
        bins = [(float(row["low"]), int(row["count"])) for row in found if (row["task"], row["layer"]) == (task, layer)]
        assert sum(count for _, count in bins) == len(logs)
        assert all(low == BIN_WIDTH * round(low / BIN_WIDTH) for low, _ in bins)
        for low, count in bins:
            assert count == ((low <= logs) & (logs < low + BIN_WIDTH)).sum()


def test_training_csv_and_learning_curves(run: Run) -> None:
    found = rows(run, "training.csv")
    assert [(int(row["task"]), int(row["epoch"])) for row in found] == [
        (task, epoch) for task in range(1, TASKS + 1) for epoch in range(1, EPOCHS + 1)
    ]
    first_task, later = found[:EPOCHS], found[EPOCHS:]
    assert all(float(row["penalty"]) == 0 for row in first_task)
    assert all(float(row["penalty"]) > 0 for row in later)
    assert all(float(row["l1"]) > 0 and float(row["samples_per_second"]) > 0 for row in found)
    assert float(first_task[-1]["data_loss"]) < float(first_task[0]["data_loss"])
    curves = rows(run, "learning_curves.csv")
    assert [(row["task"], row["epoch"], row["eval_task"]) for row in curves] == [
        (str(task), str(epoch), str(other)) for task in (1, 2, 3) for epoch in (2, 4) for other in range(1, task + 1)
    ]
    for row in curves:
        if int(row["epoch"]) == EPOCHS:
            assert float(row["accuracy"]) == run.matrix[int(row["task"]), int(row["eval_task"]) - 1]


def test_run_json(run: Run) -> None:
    (session,) = run.facts["sessions"]
    assert set(session["versions"]) == {"cl-runner", "torch", "numpy", "hydra-core", "python"}
    seconds = run.facts["seconds"]
    assert set(seconds) == {"start", "load", "train", "fisher", "evaluate", "write", "other", "total"}
    assert sum(seconds.values()) == pytest.approx(2 * seconds["total"], abs=0.02)
    assert run.facts["peak_memory_mib"]["process"] > 10
    assert run.facts["threads"] >= 1


def test_figures_are_pictures(run: Run) -> None:
    for name in ("accuracy_matrix.png", "significance_histograms.png", "training.png", "mask_overlap.png"):
        content = (run.path / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5000


def test_a_task_that_is_not_there(run: Run) -> None:
    with pytest.raises(ValueError, match="task: got 4, allowed: 1 to 3"):
        run.network(task=4)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method=finetune"], "finetune on permuted_digits, seed 0"),
        (
            ["method=layerwise_mask", "freeze=0.9"],
            "layerwise_mask (layerwise mask, freeze=0.9) on permuted_digits, seed 0",
        ),
        (["method=l1_sparsity", "seed=3"], "l1_sparsity (λ=10, λ₁=0.03) on permuted_digits, seed 3"),
        (
            ["method=global_mask", "method.soft=true", "freeze=0"],
            "global_mask (soft global mask, freeze=0) on permuted_digits, seed 0",
        ),
        (["benchmark.dataset=mnist"], "finetune on permuted_digits of mnist, seed 0"),
    ],
)
def test_a_run_in_words(overrides: list[str], words: str, make_config: MakeConfig) -> None:
    assert describe(make_config(*overrides)) == words


def test_config_is_read_back(run: Run, make_config: MakeConfig) -> None:
    assert run.config == make_config(*OVERRIDES, "save=all")


def test_a_run_in_a_stack_writes_what_it_writes_alone(run: Run, make_config: MakeConfig, tmp_path: Path) -> None:
    own = make_config(*OVERRIDES)
    other = make_config(*OVERRIDES, "method=global_mask", "freeze=0.8", "seed=9")
    third = make_config(*OVERRIDES, "method=online_ewc", "seed=3", "fisher.estimator=empirical")
    run_stack([other, own, third], [tmp_path / name for name in "abc"], Silent())
    among = load_run(tmp_path / "b")
    np.testing.assert_allclose(among.matrix, run.matrix, atol=0.002)
    for name, tensor in among.significance[1].items():
        torch.testing.assert_close(tensor, run.significance[1][name], rtol=1e-3, atol=1e-7)
    assert not np.array_equal(load_run(tmp_path / "a").matrix, among.matrix)


def test_a_soft_run_in_a_stack_with_a_hard_one(make_config: MakeConfig, tmp_path: Path) -> None:
    # Of fewer samples some parameters are equally significant, and a soft mask freezes all of those.
    common = [*OVERRIDES, "benchmark.validation=null", "method=layerwise_mask"]
    # They share the network of the first task, and its files are still each run's own.
    configs = [make_config(*common, *more) for more in ([], ["method.soft=true"], ["method.soft=true", "freeze=0"])]
    paths = [tmp_path / name for name in ("hard", "soft", "softest")]
    run_stack(configs, paths, Silent())
    run_stack(configs[:1], [tmp_path / "alone"], Silent())
    hard, soft, softest = map(load_run, paths)
    for task in range(1, TASKS + 1):
        before, after = (
            load_file(soft.path / f"checkpoints/task_{number}.safetensors") for number in (max(task - 1, 1), task)
        )
        for name, mask in soft.masks[task].items():
            assert (hard.masks[task][name].dtype, mask.dtype) == (torch.uint8, torch.float32)
            assert softest.masks[task][name].dtype == torch.float32
            assert torch.equal(before[name][mask == 0], after[name][mask == 0])
            assert mask.min() >= 0
            assert mask.max() <= 1
    assert any(((mask > 0) & (mask < 1)).any() for mask in soft.masks[2].values())
    counts = {
        path.name: [int(row["frozen"]) for row in rows(Run(path), "layers.csv") if row["task"] == "2"] for path in paths
    }
    sizes = [out * (into + 1) for into, out in SHAPES]
    assert counts["hard"] == counts["soft"] == [round(FREEZE * size) for size in sizes]
    assert counts["softest"] == [1] * len(SHAPES)
    np.testing.assert_allclose(hard.matrix, load_run(tmp_path / "alone").matrix, atol=0.002)


VARIANTS = [
    ["method=finetune"],
    ["method=ewc"],
    ["method=ewc", "fisher.estimator=empirical"],
    ["method=online_ewc", "method.gamma=0.5"],
    ["method=global_mask", "freeze=0.3"],
    ["method=global_mask", "freeze=0.8"],
    *(["method=layerwise_mask", f"method.mask_source={source}"] for source in ("latest", "sum", "max", "union")),
    *(["method=layerwise_mask", "method.soft=true", f"method.mask_source={source}"] for source in ("latest", "union")),
]


def test_fanning_out_what_is_common_changes_nothing(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ["benchmark.tasks=4", "benchmark.train_samples=200", "train.epochs=2", "model.hidden=[12]"]
    configs = [make_config(*common, *variant, f"seed={seed}") for seed in (0, 1) for variant in VARIANTS]
    rows = [0] * 4

    class Counting(Silent):
        def epoch(self, task: int, tasks: int, epoch: Epoch) -> None:
            assert task <= tasks
            rows[task - 1] = len(epoch.data_loss)

    def directories(name: str) -> list[Path]:
        return [tmp_path / name / str(number) for number in range(len(configs))]

    run_stack(configs, directories("shared"), Counting())
    for name in ("share_rows", "fanned_out"):
        never = partial(getattr(rows_of_runs, name), past=lambda config, _: id(config))
        monkeypatch.setattr(f"cl_runner.runs.loop.{name}", never)
    run_stack(configs, directories("apart"), Silent())
    # After the first task the two EWC are still alike, and so are the sources of the hard mask and of the soft one.
    assert rows == [2 * 1, 2 * 7, 2 * 12, 2 * 12]
    for shared, apart in zip(directories("shared"), directories("apart"), strict=True):
        np.testing.assert_allclose(load_run(shared).matrix, load_run(apart).matrix, atol=0.002)
        for folder in ("significance", "masks", "checkpoints"):
            name = f"{folder}/task_4.safetensors"
            for key, tensor in load_file(shared / name).items():
                torch.testing.assert_close(tensor, load_file(apart / name)[key], rtol=1e-3, atol=1e-5)


def test_a_diverging_run_is_taken_out_and_the_others_go_on(make_config: MakeConfig, tmp_path: Path) -> None:
    common = ["benchmark.tasks=3", "benchmark.train_samples=200", "train.epochs=2", "model.hidden=[12]"]
    common += ["method=ewc", "train.optimizer=sgd", "train.learning_rate=0.1"]
    configs = [
        make_config(*common, f"method.ewc_lambda={value}", f"seed={seed}") for seed in (0, 1) for value in (1, 1e30)
    ]
    recorders = run_stack(configs, [tmp_path / str(number) for number in range(4)], Silent())
    assert [recorder.failure is None for recorder in recorders] == [True, False] * 2
    for number in (1, 3):
        reason = json.loads((tmp_path / str(number) / "failed.json").read_text())["reason"]
        assert "task 2, epoch 1: try a smaller method.ewc_lambda (now 1e+30)" in reason
        assert not (tmp_path / str(number) / "metrics.json").exists()
        # What was learned before stays.
        assert (tmp_path / str(number) / "checkpoints" / "task_1.safetensors").exists()
    run_stack([configs[2]], [tmp_path / "alone"], Silent())
    np.testing.assert_allclose(load_run(tmp_path / "2").matrix, load_run(tmp_path / "alone").matrix, atol=0.002)


def test_too_little_memory_is_named(make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    monkeypatch.setattr("cl_runner.runs.loop.make_network", full)
    with pytest.raises(ResourceError, match="not enough memory"):
        run_stack([make_config()], [tmp_path], Silent())


def test_a_finished_directory_is_refused(run: Run) -> None:
    with pytest.raises(FileExistsError, match="holds a finished run"):
        Recorder(run.path, TASKS, "accuracy")


def test_a_failure_while_writing_leaves_no_half_file(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    begin_session([(tmp_path / "run", make_config(), False)])
    recorder = Recorder(tmp_path / "run", 1, "accuracy")
    half = Score(*(torch.tensor([value]) for value in (0.5, 1.0, 10)))
    recorder.scores(0, Scores([half], None), 0)
    recorder.scores(1, Scores([half], None), 0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        recorder.finish({})
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_other_scenarios_run_through(scenario: str, make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("benchmark=split_digits", f"benchmark.scenario={scenario}", "method=ewc", "train.epochs=3")
    run_stack([config], [tmp_path / "run"], Silent())
    accuracy = load_run(tmp_path / "run").matrix
    learned = np.diagonal(accuracy[1:])
    assert learned.min() > (0.8 if scenario == "task" else 0.5)
    weight = load_file(tmp_path / "run" / "significance" / "task_1.safetensors")["layers.3.weight"]
    active = 2
    assert (weight[:active] > 0).any(1).all()
    assert (weight[active:] == 0).all()


def test_json_has_no_nan(tmp_path: Path, make_config: MakeConfig) -> None:
    config = make_config("benchmark.tasks=1", "benchmark.train_samples=50", "train.epochs=1")
    run_stack([config], [tmp_path / "run"], Silent())
    metrics: dict[str, Any] = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["backward_transfer"] is None
