"""The end of a search: its best setting beside the default one, on seeds that no trial has seen."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cl_runner.errors import SweepError
from cl_runner.metrics import objective
from cl_runner.results.recorded import RunFiles
from cl_runner.sweeps.search.progress import SearchProgress, in_words
from cl_runner.sweeps.search.record import Record, Trial
from cl_runner.sweeps.search.space import Value, overrides
from cl_runner.sweeps.search.training import Trainer
from cl_runner.terminal import counted


def conclude(
    record: Record,
    best: Trial,
    trainer: Trainer,
    progress: SearchProgress,
    given: Sequence[str],
    seeds: Sequence[int],
    tasks: int,
) -> dict[str, Any]:
    """Train the setting of the best trial, and the command's without the space, on fresh seeds.

    Returns:
        The result to be recorded: of `best` and `default` the objective on the test set by seed, its mean and the ends
        of its 95 % interval; of their `difference`, over the seeds that both have, the same.

    Raises:
        SweepError: all runs of one of the two failed.
    """
    values: Mapping[str, Mapping[str, Value]] = {"best": best.values, "default": {}}
    progress.at("fresh seeds")
    jobs = {(side, seed): overrides(values[side], given, seed) for side in values for seed in seeds}
    runs = trainer.begin(jobs, record.jobs)
    found: dict[str, dict[int, float]] = {side: {} for side in values}
    score = aim = ""
    for side, seed in runs.train(runs.jobs, 0, tasks):
        job = runs.jobs[side, seed]
        scores, aim = RunFiles(job.directory).scores, job.config.objective
        # Chosen on validation samples, judged on the test set.
        value, score = objective(scores.metrics or {}, aim), scores.name
        if value is not None:
            found[side][seed] = value
    for side, of_seed in found.items():
        if not of_seed:
            reason = next(reason for (failed, _), reason in runs.failed.items() if failed == side)
            raise SweepError(f"no run of the {side} setting on fresh seeds is complete: {reason}")
    both = [seed for seed in seeds if all(seed in of_seed for of_seed in found.values())]
    # A mean of scores, and no difference of them.
    least, most = (0.0, 1.0 if score == "accuracy" else math.inf) if aim in ("average", "learning") else (-1.0, 1.0)
    return {
        "trial": best.number,
        "values": best.values,
        "objective": aim,
        "score": score,
        **{side: _estimate(of_seed, least, most) for side, of_seed in found.items()},
        "difference": _estimate({seed: found["best"][seed] - found["default"][seed] for seed in both}),
    }


def _estimate(of_seed: Mapping[int, float], least: float = -math.inf, most: float = math.inf) -> dict[str, Any]:
    # Takes long to import.
    from cl_runner.results.intervals import intervals

    scores = np.array([list(of_seed.values())])
    low, high = (float(end[0, 0]) for end in intervals([scores], least, most))
    ends = {"low": low, "high": high}
    return {
        "mean": float(scores.mean()) if of_seed else None,
        **{end: None if math.isnan(value) else value for end, value in ends.items()},
        "by_seed": dict(of_seed),
    }


def in_lines(result: Mapping[str, Any], trials: int) -> list[str]:
    """What came out, in words."""
    seeds = counted(len(result["best"]["by_seed"]), "fresh seed")
    unit = "accuracy in %" if result["score"] == "accuracy" else "mean squared error"
    aim = str(result["objective"]).replace("_", " ")
    return [
        f"the best of {counted(trials, 'trial')} is trial {result['trial']}: {in_words(result['values'])}",
        f"{aim} {unit} on the test set, of {seeds}, with 95 % intervals:",
        *(f"  {side:10}  {_shown(result[side], result['score'])}" for side in ("best", "default", "difference")),
    ]


def _shown(estimate: Mapping[str, Any], score: str) -> str:
    scale, form = (100, ".1f") if score == "accuracy" else (1, ".3g")
    mean, low, high = (
        "–" if value is None else f"{scale * value:{form}}" for value in map(estimate.get, ("mean", "low", "high"))
    )
    return f"{mean}  [{low}, {high}]"
