"""Claim 7 on results made by hand: whether L1 lets a small mask protect the old tasks."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
import torch
from findings import claim_7
from findings.known import KNOWN
from findings.sparsity import Sweep, significance_facts

from cl_runner.results.run import MLP, Run

STRENGTHS, UNITS = (0.0, 0.1, 0.3), ("parameter", "neuron")
# How well an old task is known at the end, and any right after it was learned, by unit and strength.
Knowledge = Callable[[str, float], tuple[float, float]]


def results(known: Knowledge, seeds: int = 10) -> pd.DataFrame:
    """Accuracies of three tasks; where 30 % are frozen L1 does nothing."""
    source = np.random.default_rng(0)
    rows = []
    for unit in UNITS:
        for freeze in (0.1, 0.3):
            for strength in STRENGTHS:
                kept, learned = known(unit, strength) if freeze == 0.1 else (0.6, 0.9)
                for seed in range(seeds):
                    for after, task in ((1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)):
                        score = (learned if after == task else kept) + source.normal(0, 0.002)
                        directory = f"{unit}/{freeze}/{strength}/{seed}"
                        rows.append((directory, seed, unit, freeze, strength, after, task, score))
    columns = ["directory", "seed", "method.unit", "freeze", "method.l1_lambda", "after_task", "eval_task", "score"]
    return pd.DataFrame(rows, columns=columns)


def of_curves(known: Knowledge) -> pd.DataFrame:
    """The same shares of ten seeds that know a task."""
    found = results(known)
    return found.assign(score=np.where(found["seed"] < (10 * found["score"]).round(), 0.5 * KNOWN, 20.0))


def no_help(_: str, strength: float) -> tuple[float, float]:
    return 0.5 - strength, 0.9


def help_for_all(_: str, strength: float) -> tuple[float, float]:
    return 0.4 + 1.5 * strength, 0.9


def help_for_neurons(unit: str, strength: float) -> tuple[float, float]:
    return 0.5 + strength * (unit == "neuron"), 0.9


def help_at_a_cost(_: str, strength: float) -> tuple[float, float]:
    return 0.5 + strength, 0.9 - strength


@pytest.mark.parametrize(
    ("curves", "images", "verdict", "words"),
    [
        (help_for_all, help_for_all, "confirmed", "on permuted MNIST with 4 of 4 settings of L1, and worse with 0"),
        (no_help, no_help, "refuted", "on permuted MNIST with 0 of 4 settings of L1, and worse with 4"),
        (no_help, help_at_a_cost, "refuted", "on permuted MNIST with 4 of 4 settings of L1, and worse with 0"),
        (no_help, help_for_all, "depends", "on regression with 0 of 4"),
        (help_for_all, help_for_neurons, "depends", "on permuted MNIST with 2 of 4"),
    ],
)
def test_whether_sparsity_helps_a_small_mask(
    curves: Knowledge, images: Knowledge, verdict: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = ("zero", "zero_end", "in_zero", "holders", "frozen", "losses", "shrunk", "regrown")
    rows = [
        {"seed": seed, "unit": unit, "strength": strength, **dict.fromkeys(shares, 0.1 + strength)}
        for seed in range(10)
        for unit in UNITS
        for strength in STRENGTHS
    ]
    monkeypatch.setattr(Sweep, "facts", lambda _: pd.DataFrame(rows))
    given = dict(zip(claim_7.PRESETS, (of_curves(curves), results(images)), strict=True))
    (finding,) = claim_7.finding(given)
    assert finding.verdict == verdict
    assert words in finding.words
    assert len(finding.table) == 2 * len(UNITS) * len(STRENGTHS)
    assert (finding.table["n"] == 10).all()


def test_where_the_significance_lies() -> None:
    """A layer of ten weights, of which four are zero, and a bias."""
    weights = {1: [0.0] * 4 + [1.0] * 6, 2: [0.5] * 4 + [0.5, 1.5] + [1.0] * 4, 3: [0.0] * 5 + [1.0] * 5}
    significance = torch.tensor([1.0, 1, 1, 1, 6, 2, 2, 2, 2, 2, 0])

    def network(task: int) -> MLP:
        found = MLP([10, 1], "relu")
        found.load_state_dict({"layers.0.weight": torch.tensor([weights[task]]), "layers.0.bias": torch.zeros(1)})
        return found

    tensors = {"layers.0.weight": significance[None, :10], "layers.0.bias": significance[10:]}
    # The fifth weight is the most significant and frozen, so that what it did in task 2 is left to the test.
    mask = {name: (tensor != 6).byte() for name, tensor in tensors.items()}
    run = SimpleNamespace(network=network, significance=dict.fromkeys((1, 2, 3), tensors), masks={2: mask})
    found = significance_facts(cast(Run, run))
    # Eight parameters hold 18 of 20. By half a unit four weights of significance 1 grow and one of 2; one of 6 shrinks.
    assert found == pytest.approx(
        {"zero": 0.4, "zero_end": 0.5, "in_zero": 0.2, "frozen": 0.3, "holders": 8 / 11}
        | {"losses": 12 / 4, "shrunk": 6 / 12, "regrown": 4 / 12}
    )
