"""How a setting is chosen: on which samples, on which tasks, by the runs of which seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from cl_runner.errors import ConfigError
from cl_runner.metrics import continual_metrics
from cl_runner.results.tables import VALIDATION

if TYPE_CHECKING:
    import pandas as pd

ALLOWED = "validation, test, first_tasks=K, seeds=A,B"


@dataclass(frozen=True)
class Protocol:
    """Which mean of a metric decides: that over `samples`, of validation or of test (None: of validation where all runs
    have it, else of test); over the first `tasks` alone, after these were trained (None: over all); of the runs of
    `seeds` alone (none: of all).

    What is chosen is judged by the test scores over all tasks: of the other seeds where some chose, else of all.
    """

    samples: Literal["validation", "test"] | None = None
    tasks: int | None = None
    seeds: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """As the option has it: `first_tasks=3`."""
        if self.tasks is not None:
            return f"first_tasks={self.tasks}"
        return f"seeds={','.join(map(str, self.seeds))}" if self.seeds else str(self.samples)

    def judging(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The runs by whose test scores is judged what was chosen."""
        return runs[~runs["seed"].isin(self.seeds)]

    def choosing(self, runs: pd.DataFrame, metric: str) -> pd.DataFrame:
        """The runs that have a say in the choice, with what each says as column `choice`; NaN if it has no `metric`."""
        voters = runs[runs["seed"].isin(self.seeds)] if self.seeds else runs
        prefix = VALIDATION if self.samples == "validation" else ""
        if self.tasks is None:
            return voters.assign(choice=voters[f"{prefix}{metric}"])
        values = [
            continual_metrics(matrix[: self.tasks + 1, : self.tasks], score)[metric]
            for matrix, score in zip(voters[f"{prefix}matrix"], voters["score"], strict=True)
        ]
        return voters.assign(choice=np.where(voters[metric].notna(), np.array(values, dtype=float), np.nan))


ORACLE = Protocol("test")


def parse(text: str) -> Protocol:
    """The protocol that `--select` names.

    Raises:
        ConfigError: there is no such protocol.
    """
    name, _, value = text.partition("=")
    try:
        if name == "first_tasks":
            return Protocol(tasks=int(value))
        if name == "seeds":
            return Protocol(seeds=tuple(dict.fromkeys(map(int, value.split(",")))))
    except ValueError:
        pass
    if text == "validation":
        return Protocol("validation")
    if text == "test":
        return ORACLE
    raise ConfigError(f"--select: got {text}, allowed: {ALLOWED}")


def resolved(wanted: Protocol, runs: pd.DataFrame, metric: str) -> tuple[Protocol, str]:
    """`wanted` with its samples, and a note on what kept it from those of validation, empty if nothing did.

    Raises:
        ConfigError: the runs do not allow it; the message says what they do.
    """
    without = runs["validation_matrix"].isna()
    lacking = int(without.sum())
    few = f"{lacking} of {len(runs)} runs {'has' if lacking == 1 else 'have'} no validation samples"
    if wanted.samples == "validation" and lacking:
        raise ConfigError(f"--select validation: {few}, allowed: test, first_tasks=K, seeds=A,B")
    if wanted.tasks is not None:
        _check_tasks(wanted.tasks, runs, metric)
    if wanted.seeds:
        _check_seeds(wanted.seeds, sorted(runs["seed"].unique()))
    if wanted.samples:
        return wanted, ""
    if not 0 < lacking < len(runs):
        return replace(wanted, samples="test" if lacking else "validation"), ""
    others = ",".join(f"{share:g}" for share in runs.loc[~without, "benchmark.validation"].unique())
    note = f"Chosen on the test set, as {few}; --where benchmark.validation={others} judges the others by themselves."
    return replace(wanted, samples="test"), note


def of_runs(runs: pd.DataFrame, given: Protocol) -> dict[str, list[Protocol]]:
    """The protocols that `runs` allow, by name; each of several chooses for the runs of other seeds.

    The first tasks and the seeds are those of `given` where it has some. Else they are a fifth of the tasks, two at
    least, as what keeps old tasks acts from the second on, and halves of the seeds, each choosing for the other.
    """
    wholly = not runs["validation_matrix"].isna().any()
    samples: Literal["validation", "test"] = "validation" if wholly else "test"
    found = [ORACLE, Protocol("validation")] if wholly else [ORACLE]
    tasks = given.tasks or max(2, shared_tasks(runs) // 5)
    if tasks < shared_tasks(runs):
        found.append(Protocol(samples, tasks=tasks))
    allowed = {protocol.name: [protocol] for protocol in found}
    seeds = sorted(runs["seed"].unique().tolist())
    if given.seeds:
        allowed[given.name] = [Protocol(samples, seeds=given.seeds)]
    elif len(seeds) > 1:
        middle = (len(seeds) + 1) // 2
        halves = seeds[:middle], seeds[middle:]
        allowed["seeds=halves"] = [Protocol(samples, seeds=tuple(half)) for half in halves]
    return allowed


def shared_tasks(runs: pd.DataFrame) -> int:
    """How many tasks all of `runs` have."""
    return min(len(matrix) - 1 for matrix in runs["matrix"])


def _fewest_tasks(metric: str) -> int:
    """Of how many tasks there can be such a metric: of one alone nothing can be forgotten."""
    return 1 if metric.startswith(("average_accuracy", "average_mse", "learning_")) else 2


def _check_tasks(wanted: int, runs: pd.DataFrame, metric: str) -> None:
    least, tasks = _fewest_tasks(metric), shared_tasks(runs)
    if not least <= wanted < tasks:
        allowed = f"whole numbers from {least} to {tasks - 1}" if least < tasks else "nothing"
        of = f"{tasks} task{'' if tasks == 1 else 's'}"
        raise ConfigError(f"--select first_tasks: got {wanted}, allowed: {allowed}, as runs have {of}")


def _check_seeds(wanted: Sequence[int], present: Sequence[int]) -> None:
    allowed = f"allowed: some of the seeds {', '.join(map(str, present))}, but not all"
    absent = [seed for seed in wanted if seed not in present]
    if absent:
        raise ConfigError(f"--select seeds: got {', '.join(map(str, absent))}, which no finished run has, {allowed}")
    if len(wanted) == len(present):
        raise ConfigError(f"--select seeds: got all seeds, which leaves none to judge by, {allowed}")
