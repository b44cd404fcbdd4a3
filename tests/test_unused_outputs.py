"""Outputs of tasks to come: no mask counts them, and no statistic."""

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeConfig
from numpy.typing import NDArray
from test_runner import Silent

from cl_runner.config.schema import Config
from cl_runner.engine.mlp import MLPStack
from cl_runner.methods.acting import idle_settings
from cl_runner.methods.mask import GradientMask
from cl_runner.methods.method import history
from cl_runner.methods.settings import MaskSettings
from cl_runner.results.run import Run
from cl_runner.runs.loop import run_stack
from cl_runner.runs.overlap import chance

SIZES, PER_TASK = (4, 6, 8), 2
Tensors = dict[str, NDArray[np.float64]]

DIGITS = ["benchmark=split_digits", "model.hidden=[30]", "plots=none"]


def significance_by_task() -> list[Tensors]:
    """Of three of four tasks with two outputs each: zero for outputs to come."""
    source = np.random.default_rng(0)
    found = []
    for task in range(1, 4):
        tensors = {
            f"layers.{layer}.{kind}": source.random(shape) * 100.0**layer
            for layer, (into, out) in enumerate(pairwise(SIZES))
            for kind, shape in (("weight", (out, into)), ("bias", (out,)))
        }
        for kind in ("weight", "bias"):
            tensors[f"layers.1.{kind}"][PER_TASK * task :] = 0
        found.append(tensors)
    return found


def expected_scales(kept: Tensors, rule: MaskSettings, used: int) -> Tensors:
    """By one parameter, or neuron, after the other."""
    units: list[tuple[int, int, int, float]] = []
    for layer in range(2):
        weight, bias = kept[f"layers.{layer}.weight"], kept[f"layers.{layer}.bias"]
        table = np.concatenate([weight, bias[:, None]], 1)
        for row, values in enumerate(table):
            if layer == 1 and row >= used and rule.unused == "free":
                continue
            if rule.unit == "neuron":
                units.append((layer, row, -1, float(values.sum())))
            else:
                units += [(layer, row, column, float(value)) for column, value in enumerate(values)]
    scales = {name: np.ones_like(values) for name, values in kept.items()}
    pools = [units] if rule.kind == "global" else [[unit for unit in units if unit[0] == layer] for layer in range(2)]
    for pool in pools:
        ranked = sorted(pool, key=lambda unit: -unit[3])
        count = round(rule.fraction * len(ranked))
        threshold = ranked[max(count, 1) - 1][3]
        for place, (layer, row, column, value) in enumerate(ranked):
            scale = 0.0 if place < count else 1.0
            if rule.soft and scale and threshold:
                scale = 1 - value / threshold
            weight, bias = scales[f"layers.{layer}.weight"], scales[f"layers.{layer}.bias"]
            if column < weight.shape[1] and column >= 0:
                weight[row, column] = scale
            elif column == weight.shape[1]:
                bias[row] = scale
            else:
                weight[row], bias[row] = scale, scale
    return scales


@pytest.mark.parametrize("unused", ["free", "counted"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("unit", ["parameter", "neuron"])
@pytest.mark.parametrize("source", ["latest", "sum", "max", "union"])
@pytest.mark.parametrize("kind", ["global", "layerwise"])
def test_masks_are_those_of_a_plain_ranking_of_the_outputs_in_use(
    kind: str, source: str, unit: str, soft: bool, unused: str
) -> None:
    rule = MaskSettings(kind, 0.8, source, unit, soft, unused)
    stack = MLPStack(SIZES, "relu", [0], dtype=torch.float64)
    layout, mask = stack.layout, GradientMask(stack, [rule])
    kept: Tensors = {}
    union: Tensors = {}
    for task, fisher in enumerate(significance_by_task(), 1):
        vector = torch.cat([torch.from_numpy(values).flatten() for values in fisher.values()])
        mask.end(task - 1, layout.gathered([vector]), PER_TASK * task)
        join = {"sum": np.add, "max": np.maximum}.get(source, lambda _, latest: latest)
        kept = {name: join(kept[name], values) if kept else values for name, values in fisher.items()}
        scales = expected_scales(kept, rule, PER_TASK * task)
        union = {name: np.minimum(union[name], values) if union else values for name, values in scales.items()}
        for name, values in (union if source == "union" else scales).items():
            found = layout.named(mask.scale, 0)[name].numpy()
            np.testing.assert_allclose(found, values, rtol=0, atol=1e-12)
            if unused == "free" and name.startswith("layers.1"):
                assert (found[PER_TASK * task :] == 1).all()


@pytest.mark.parametrize("unit", ["parameter", "neuron"])
def test_a_soft_layerwise_mask_stays_soft(unit: str) -> None:
    """With outputs to come counted its threshold is among them, at zero, and what is not frozen is quite free."""
    parts = {}
    for unused in ("free", "counted"):
        stack = MLPStack(SIZES, "relu", [0])
        layout = stack.layout
        rule = MaskSettings("layerwise", 0.5, "latest", unit, soft=True, unused=unused)
        mask = GradientMask(stack, [rule])
        fisher = significance_by_task()[0]
        vector = torch.cat([torch.from_numpy(values).flatten() for values in fisher.values()]).float()
        mask.end(0, layout.gathered([vector]), PER_TASK)
        parts[unused] = layout.named(mask.scale, 0)["layers.1.weight"]
    assert ((parts["free"] > 0) & (parts["free"] < 1)).any()
    assert not ((parts["counted"] > 0) & (parts["counted"] < 1)).any()


@pytest.mark.parametrize(
    ("scenario", "options", "task"), [("class", [], 3), ("task", ["freeze=0.9", "model.hidden=[30]"], 3)]
)
def test_a_layerwise_mask_learns_tasks_to_come(
    scenario: str, options: list[str], task: int, make_config: MakeConfig, tmp_path: Path
) -> None:
    options = ["benchmark=split_digits", f"benchmark.scenario={scenario}", "method=layerwise_mask", *options]
    configs = {unused: make_config(*options, f"method.unused={unused}") for unused in ("free", "counted")}
    run_stack(list(configs.values()), [tmp_path / unused for unused in configs], Silent())
    learned = {unused: Run(tmp_path / unused).matrix[task, task - 1] for unused in configs}
    assert learned["free"] > learned["counted"] + 0.2
    for number, mask in Run(tmp_path / "free").masks.items():
        last = list(mask.values())[-2]
        assert (last[2 * (number - 1) :] == 1).all()
    own = list(Run(tmp_path / "counted").masks[task].values())[-2][2 * (task - 1) : 2 * task]
    assert (own == 0).all()


@pytest.mark.parametrize("options", [[], ["benchmark=split_digits"], ["benchmark=regression", "model.hidden=[5]"]])
def test_where_tasks_share_their_outputs_it_makes_no_difference(
    options: list[str], make_config: MakeConfig, tmp_path: Path
) -> None:
    options = [*options, "benchmark.tasks=2", "benchmark.train_samples=60", "train.iterations=4", "train.epochs=null"]
    options += ["train.first_epochs=null", "method=layerwise_mask"]
    configs = [make_config(*options, f"method.unused={unused}") for unused in ("free", "counted")]
    for config in configs:
        assert "method.unused" in idle_settings(config)
    run_stack(configs, [tmp_path / "free", tmp_path / "counted"], Silent())
    free, counted = Run(tmp_path / "free"), Run(tmp_path / "counted")
    assert all(torch.equal(tensor, counted.masks[2][name]) for name, tensor in free.masks[2].items())
    assert (free.path / "mask_overlap.csv").read_text() == (counted.path / "mask_overlap.csv").read_text()


@pytest.mark.parametrize(
    ("overrides", "acts"),
    [
        (["method=layerwise_mask"], True),
        (["method=global_mask", "method.unit=neuron", "method.soft=true"], True),
        (["method=global_mask", "benchmark.scenario=domain"], False),
        (["method=ewc"], False),
        (["method=global_mask", "freeze=0"], False),
        (["method=layerwise_mask", "freeze=0", "method.soft=true"], False),
    ],
)
def test_it_is_idle_where_it_changes_no_mask(
    overrides: list[str], acts: bool, make_config: MakeConfig, tmp_path: Path
) -> None:
    short = ["benchmark.train_samples=60", "train.epochs=2", "benchmark.tasks=3", "benchmark.scenario=class"]
    configs = [make_config(*DIGITS, *short, *overrides, f"method.unused={unused}") for unused in ("free", "counted")]
    assert ("method.unused" not in idle_settings(configs[0])) is acts
    assert [history(configs[0], task) == history(configs[1], task) for task in range(3)] == [True, *[not acts] * 2]
    # Trained apart, so that what is said not to matter could.
    masks = []
    for config in configs:
        run_stack([config], [tmp_path / config.method.unused], Silent())
        masks.append(Run(tmp_path / config.method.unused).masks[3])
    same = all(torch.equal(tensor, masks[1][name]) for name, tensor in masks[0].items())
    assert same is not acts


@pytest.fixture(scope="module")
def incremental(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Run]:
    directory = tmp_path_factory.mktemp("incremental")
    config = make_config(
        *DIGITS, "benchmark.scenario=class", "benchmark.tasks=3", "train.epochs=2", "method=layerwise_mask"
    )
    run_stack([config], [directory], Silent())
    return config, Run(directory)


def test_overlap_counts_the_outputs_in_use(incremental: tuple[Config, Run]) -> None:
    config, run = incremental
    frozen = {}
    for task, tensors in run.significance.items():
        weight, bias = (tensors[f"layers.1.{kind}"][: 2 * task].numpy() for kind in ("weight", "bias"))
        values = np.concatenate([weight, bias[:, None]], 1)
        order = np.argsort(-values.ravel(), kind="stable")[: round(config.freeze * values.size)]
        frozen[task] = set(order.tolist()), values.size
    found = {(int(row["task"]), int(row["other"])): row for row in run.table("mask_overlap.csv") if row["layer"] == 1}
    assert list(found) == list(combinations((1, 2, 3), 2))
    for (task, other), row in found.items():
        (first, _), (second, size) = frozen[task], frozen[other]
        assert row["jaccard"] == pytest.approx(len(first & second) / len(first | second), rel=1e-6)
        assert row["chance"] == pytest.approx(chance(len(first), len(second), size), rel=1e-6)


def test_chance_of_a_set_drawn_from_fewer_things() -> None:
    source = np.random.default_rng(0)
    indices = []
    for _ in range(400):
        first = set(source.permutation(600)[:400].tolist())
        second = set(source.permutation(1000)[:700].tolist())
        indices.append(len(first & second) / len(first | second))
    assert np.mean(indices) == pytest.approx(chance(400, 700, 1000), rel=0.005)


def test_zeros_of_outputs_to_come_are_no_share_of_significance(incremental: tuple[Config, Run]) -> None:
    _, run = incremental
    for row in run.table("significance.csv"):
        task, layer = int(row["task"]), int(row["layer"])
        parts = [run.significance[task][f"layers.{layer}.{kind}"] for kind in ("weight", "bias")]
        values = torch.cat([part[: 2 * task if layer == 1 else None].flatten() for part in parts])
        assert row["zero_share"] == pytest.approx(float((values == 0).float().mean()), abs=1e-6)
        if layer == 1:
            assert row["zero_share"] < 0.2
