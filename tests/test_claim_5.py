"""Claim 5's rules on results made by hand."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fake_runs import write_record, write_results
from findings import claim_5
from safetensors.torch import save_file

Scores = Callable[[str, str, int], float]


def results(folder: Path, score: Scores, noise: float) -> pd.DataFrame:
    """Runs of ten seeds at freeze=0.5 with this score on both tasks, and the files that are read."""
    source_of_noise = np.random.default_rng(0)
    rows = []
    for method, source, seed in product(claim_5.MASKS, claim_5.SOURCES, range(10)):
        directory = folder / f"{method}-{source}-{seed}"
        (directory / "masks").mkdir(parents=True)
        write_results(directory, "mse", np.ones((4, 3)))
        for task in (1, 2, 3):
            # Of four frozen parameters half are the same, unless the source is the union.
            frozen = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]) if task < 3 else torch.tensor([1, 1, 0, 0, 0, 0, 1, 1])
            mask = torch.where(torch.arange(8) < 4, 0, frozen) if source == "union" else frozen
            layer = {"layers.0.weight": mask[:6].view(2, 3).byte(), "layers.0.bias": mask[6:].byte()}
            save_file(layer, directory / "masks" / f"task_{task}.safetensors")
        frozen_share = 60 if source == "union" else 50
        (directory / "layers.csv").write_text(f"task,layer,parameters,frozen\n3,0,100,{frozen_share}\n")
        write_record(directory)
        value = score(method, source, seed) + source_of_noise.normal(0, noise)
        rows += [(str(directory), seed, 2, task, value, method, 0.5, "empirical", source) for task in (1, 2)]
    columns = ["directory", "seed", "after_task", "eval_task", "score", *claim_5._KEYS]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (
            lambda method, source, _: 0.05 if method == "global_mask" and source in ("sum", "union") else 1.0,
            "confirmed",
        ),
        (lambda *_: 1.0, "refuted"),
        # Seven of ten seeds are not reliable.
        (lambda mask, source, seed: 0.05 if mask[0] == "g" and source[1] in "un" and seed > 2 else 1.0, "depends"),
        # All that is said of global masks holds, but layer-wise ones do as well.
        (lambda _, source, __: 1.0 if source == "latest" else 0.05, "depends"),
        # No more is known by the sum than by the latest.
        (lambda method, *_: 0.05 if method == "global_mask" else 1.0, "depends"),
    ],
)
def test_what_the_trial_found(error: Scores, verdict: str, tmp_path: Path) -> None:
    finding = claim_5._regression(results(tmp_path, error, 0.001))
    assert finding.verdict == verdict
    assert (finding.table["n"] == 10).all()
    assert set(finding.table["know all, %"]) <= {"0", "70", "100"}
    assert "50.0 [50.0, 50.0] % by `sum`" in finding.answer
    assert "100.0 [100.0, 100.0] % by `union`" in finding.answer


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ({"max": 0.1, "sum": 0.1, "union": 0.1}, "confirmed"),
        ({"max": -0.1, "sum": -0.1, "union": -0.1}, "refuted"),
        ({"max": 0.1, "sum": 0.1, "union": -0.1}, "depends"),
    ],
)
def test_sources_against_the_latest(gains: dict[str, float], verdict: str, tmp_path: Path) -> None:
    finding = claim_5._mnist(results(tmp_path, lambda _, source, __: 0.7 + gains.get(source, 0.0), 0.001))
    assert finding.verdict == verdict
    assert "60 % of the parameters" in finding.answer
    for source, gain in gains.items():
        if gain:
            assert f"`{source}` is clearly ahead of `latest` in {2 * (gain > 0)} and behind in {2 * (gain < 0)}" in (
                finding.words
            )
