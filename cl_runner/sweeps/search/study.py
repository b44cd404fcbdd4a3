"""Optuna, which does the search: what to try next, and what to drop.

It stores nothing. A study is made anew, in memory, of what was recorded, each time that something is asked: so a search
that was stopped asks what it would have asked without.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from cl_runner.errors import ConfigError
from cl_runner.sweeps.search.record import Trial
from cl_runner.sweeps.search.space import Dimension

# By our names Optuna's, and arguments that suit trials asked for in batches, and dropped task by task.
_SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "tpe": ("TPESampler", {"multivariate": True, "constant_liar": True}),
    "random": ("RandomSampler", {}),
    "cmaes": ("CmaEsSampler", {}),
    "qmc": ("QMCSampler", {"scramble": True}),
    "gp": ("GPSampler", {}),
}
# After the first task nothing can be forgotten yet: what learns fast there may be what forgets fast.
_PRUNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "successive_halving": ("SuccessiveHalvingPruner", {"min_resource": 2, "reduction_factor": 2}),
    "hyperband": ("HyperbandPruner", {"min_resource": 2, "reduction_factor": 2}),
    "median": ("MedianPruner", {}),
    "none": ("NopPruner", {}),
}
# Packages that samplers import once they are used, besides Optuna's own.
_NEEDED = {"cmaes": "cmaes"}


class Searcher:
    """Asks Optuna for trials in `space`; `settings` are the sweeper's, `tasks` those of all runs of one.

    Raises:
        ConfigError: Optuna is not there, or has no such sampler or pruner, or not with these arguments.
    """

    def __init__(self, space: Mapping[str, Dimension], settings: Mapping[str, Any], tasks: int) -> None:
        if find_spec("optuna") is None:
            raise ConfigError(
                "hydra/sweeper: got search, which needs Optuna, allowed: once that is installed, as by "
                "pip install 'cl-runner[search]'"
            )
        self._space, self._settings, self._tasks = space, settings, tasks
        needed = _NEEDED.get(settings["sampler"])
        if needed and find_spec(needed) is None:
            raise ConfigError(
                f"hydra.sweeper.sampler: got {settings['sampler']}, which needs the package {needed}, allowed: once "
                "that is installed"
            )
        with _optuna() as optuna:
            self._study(optuna, [])
            # It knows by which of its classes each dimension is described, which differ between versions.
            trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
            for key, dimension in space.items():
                dimension.suggested(key, trial)
            self._distributions = trial.distributions

    def ask(self, told: Sequence[Trial], count: int) -> list[Trial]:
        """So many trials to train next, given all that was told."""
        with _optuna() as optuna:
            study = self._study(optuna, told)
            for _ in range(count):
                trial = study.ask()
                for key, dimension in self._space.items():
                    dimension.suggested(key, trial)
            found = study.get_trials(deepcopy=False)[len(told) :]
            return [Trial(trial.number, dict(trial.params), dict(trial.system_attrs)) for trial in found]

    def race(self, told: Sequence[Trial], count: int) -> "Race":
        """So many trials, those that were asked last, to be dropped or not as they go on."""
        with _optuna() as optuna:
            study = self._study(optuna, told)
            return Race(study, [study.ask() for _ in range(count)])

    def _study(self, optuna: Any, told: Sequence[Trial]) -> Any:
        """All trials that were told, in their order, and a sampler that has its seed from their number."""
        seed = np.random.SeedSequence([self._settings["seed"], len(told)]).generate_state(1)
        study = optuna.create_study(
            # Hyperband draws brackets from the name.
            study_name="search",
            direction="maximize",
            sampler=self._made(optuna, "sampler", _SAMPLERS, seed=int(seed[0])),
            pruner=self._made(optuna, "pruner", _PRUNERS),
        )
        states = optuna.trial.TrialState
        of = {"complete": states.COMPLETE, "dropped": states.PRUNED, "failed": states.FAIL}
        for trial in told:
            value = trial.value
            if trial.state == "dropped":
                # As Optuna has it of trials that it pruned itself.
                value = trial.scores[max(trial.scores)]
            study.add_trial(
                optuna.trial.create_trial(
                    state=of[trial.state],
                    value=value,
                    params=trial.values,
                    distributions=self._distributions,
                    system_attrs=trial.attributes,
                    intermediate_values=trial.scores,
                )
            )
        return study

    def _made(
        self, optuna: Any, what: str, known: Mapping[str, tuple[str, Mapping[str, Any]]], **arguments: Any
    ) -> Any:
        """A sampler or pruner of Optuna's."""
        chosen, own = self._settings[what], dict(self._settings[f"{what}_arguments"])
        name, usual = known[chosen]
        kind = getattr(getattr(optuna, f"{what}s"), name, None)
        if kind is None:
            raise ConfigError(
                f"hydra.sweeper.{what}: got {chosen}, which Optuna {optuna.__version__} does not have, allowed: "
                "another, or a later Optuna"
            )
        if chosen == "hyperband":
            # Before, it had brackets by Python's hash of a text, which is another in each process.
            if tuple(map(int, optuna.__version__.split(".")[:2])) < (3, 1):
                raise ConfigError(
                    f"hydra.sweeper.pruner: got hyperband, by which Optuna {optuna.__version__} cannot repeat a "
                    "search, allowed: another, or Optuna 3.1 or later"
                )
            arguments["max_resource"] = self._tasks
        elif chosen == "none":
            arguments = {}
        try:
            return kind(**{**usual, **arguments, **own})
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"hydra.sweeper.{what}_arguments: got {own} ({error}), allowed: arguments of Optuna's {name}"
            ) from error


class Race:
    """Trials that are trained side by side, by their place in the batch; scores are such that more is better."""

    def __init__(self, study: Any, trials: Sequence[Any]) -> None:
        self._study, self._trials = study, trials

    def report(self, place: int, tasks: int, score: float) -> None:
        """The score after so many tasks."""
        with _optuna():
            self._trials[place].report(score, tasks)

    def drops(self, place: int) -> bool:
        """Whether to drop a trial, by what was reported of all; to be asked once after each task, in their order."""
        with _optuna():
            return bool(self._trials[place].should_prune())

    def attributes(self, place: int) -> dict[str, Any]:
        """What the pruner remembers of a trial."""
        with _optuna():
            return dict(self._study.get_trials(deepcopy=False)[self._trials[place].number].system_attrs)


@contextmanager
def _optuna() -> Iterator[Any]:
    """Optuna, of which nothing is said in the terminal meanwhile."""
    before = logging.root.manager.disable
    # What it imports logs too.
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield import_module("optuna")
    finally:
        logging.disable(before)
