"""The runs of claim 7 on a benchmark: what L1 does to old tasks, to new ones, and to significance."""

import pandas as pd
import torch

from cl_runner.results.run import Run, load_run
from findings.knowledge import Benchmark
from findings.results import runs
from findings.statistics import Estimate, by_seed, paired_difference


class Sweep(Benchmark):
    """Layer-wise masks by the strength of L1, the share they freeze, and the unit that they freeze, on a benchmark."""

    @property
    def strengths(self) -> list[float]:
        """Ascending, 0 first."""
        return sorted(self.scores["method.l1_lambda"].unique())

    @property
    def freezes(self) -> list[float]:
        """Ascending."""
        return sorted(self.scores["freeze"].unique())

    @property
    def units(self) -> list[str]:
        return sorted(self.scores["method.unit"].unique(), reverse=True)

    def of(self, unit: str, freeze: float, strength: float) -> pd.DataFrame:
        """The rows of a setting."""
        setting = pd.Series({"method.unit": unit, "freeze": freeze, "method.l1_lambda": strength})
        return self.scores[(self.scores[setting.index] == setting).all(axis=1)]

    def old(self, unit: str, freeze: float, strength: float) -> pd.DataFrame:
        """The rows on the old tasks at the end, all but the last."""
        rows = self.of(unit, freeze, strength)
        last = int(rows["after_task"].max())
        return rows[(rows["after_task"] == last) & (rows["eval_task"] < last)]

    def kept(self, unit: str, freeze: float, strength: float) -> pd.Series:
        """How well the old tasks are known at the end, by seed."""
        return by_seed(self.old(unit, freeze, strength), "known")

    def learned(self, unit: str, freeze: float, strength: float) -> pd.Series:
        """How well the tasks are known right after each was learned, by seed."""
        rows = self.of(unit, freeze, strength)
        return by_seed(rows[rows["after_task"] == rows["eval_task"]], "known")

    def gain(self, unit: str, strength: float) -> Estimate:
        """How much better than without L1 the old tasks are known, at the smallest freeze."""
        freeze = self.freezes[0]
        return paired_difference(self.kept(unit, freeze, strength), self.kept(unit, freeze, 0))

    def cost(self, unit: str, strength: float) -> Estimate:
        """How much better than without L1 tasks are learned, at the smallest freeze."""
        freeze = self.freezes[0]
        return paired_difference(self.learned(unit, freeze, strength), self.learned(unit, freeze, 0))

    def trials(self) -> list[tuple[str, float]]:
        """Units and strengths above 0."""
        return [(unit, strength) for unit in self.units for strength in self.strengths[1:]]

    def facts(self) -> pd.DataFrame:
        """`significance_facts` of the runs with the smallest freeze, beside their `seed`, `unit` and `strength`."""
        small = runs(self.scores[self.scores["freeze"] == self.freezes[0]])
        found = pd.DataFrame([significance_facts(load_run(directory)) for directory in small["directory"]])
        return found.assign(seed=small["seed"], unit=small["method.unit"], strength=small["method.l1_lambda"])


def significance_facts(run: Run) -> dict[str, float]:
    """Of the first task of a run, shares that are means over layers; EWC's penalty is a sum over all of them.

    `zero` of the weights are zero, `zero_end` are after the last task, and hold `in_zero` of the weights' significance.
    `holders` is the smallest share of the parameters that holds 90 % of the significance, `frozen` what the mask of
    task 2 holds. `losses` is EWC's estimate of what task 2 costs task 1, the sum over weights of significance times
    squared step; of it `shrunk` is the share of weights that were drawn towards zero, `regrown` of those that had been
    zero.
    """
    significance, mask = run.significance[1], run.masks[2]
    first, second, last = (run.network(task).state_dict() for task in (1, 2, max(run.significance)))
    rows, losses, shrunk, regrown = [], 0.0, 0.0, 0.0
    for layer in range(len(significance) // 2):
        names = [f"layers.{layer}.{part}" for part in ("weight", "bias")]
        ranks = torch.cat([significance[name].flatten() for name in names])
        frozen = torch.cat([mask[name].flatten() for name in names]) == 0
        held = ranks.sort(descending=True).values.double().cumsum(0) / ranks.double().sum()
        weights, step = first[names[0]], (second[names[0]] - first[names[0]])
        zero, loss = weights == 0, significance[names[0]] * step.square()
        losses += float(loss.sum())
        shrunk += float(loss[second[names[0]].abs() < weights.abs()].sum())
        regrown += float(loss[zero].sum())
        rows.append(
            {
                "zero": float(zero.float().mean()),
                "zero_end": float((last[names[0]] == 0).float().mean()),
                "in_zero": float(significance[names[0]][zero].sum() / significance[names[0]].sum()),
                "holders": (int((held < 0.9).sum()) + 1) / len(held),
                "frozen": float(ranks[frozen].sum() / ranks.sum()),
            }
        )
    means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    return {**means, "losses": losses, "shrunk": shrunk / losses, "regrown": regrown / losses}
