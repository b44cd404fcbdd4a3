"""The results of a sweep as tables, the longest with a row per run, number of tasks learned, and task tested on."""

import json
import os
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from cl_runner.report.collect import collect
from cl_runner.report.settings import BOOKKEEPING, distinguishing, labels
from cl_runner.results.files import is_complete, write_atomically
from cl_runner.sweeps.directories import led
from cl_runner.sweeps.grids import union_of_grids

_COST = "cost.json"
# The long table of a run and its column that holds the score; regression has no accuracy.
_SCORES = {"mse.csv": "mse", "accuracy.csv": "accuracy"}


@dataclass(frozen=True)
class Cost:
    """Real seconds that a sweep took, over all starts, and the cores it could use."""

    seconds: float
    cores: int


def jobs(folder: Path) -> dict[Path, str]:
    """Directories of all runs that the sweep last started in `folder` consists of, with what tells each from others.

    Empty if none was started. What ran is no evidence of what should have run: this is taken from the sweep's record.
    """
    record = folder / "multirun.yaml"
    if not record.exists():
        return {}
    hydra = OmegaConf.load(record).hydra
    found = union_of_grids(hydra.sweeper.params, hydra.sweeper.grids, hydra.overrides.task)
    common = set.intersection(*map(set, found))
    names = [" ".join(entry for entry in job if entry not in common) for job in found]
    places = {frozenset(overrides): directory for overrides, directory in led(folder)}
    # A sweep from before this was written down has the jobs' numbers.
    unknown = "{}" if not places else "never begun {}"
    directories = [places.get(frozenset(job), folder / unknown.format(number)) for number, job in enumerate(found)]
    return dict(zip(directories, names, strict=True))


def command(folder: Path) -> str:
    """The command that gives the results of the sweep in `folder` again."""
    given = OmegaConf.load(folder / "multirun.yaml").hydra.overrides.task
    here = [entry for entry in given if not entry.startswith("data_dir=")]
    return shlex.join(["uv", "run", "cl-run", "-m", *here])


def missing(folder: Path) -> dict[Path, str]:
    """Those of `jobs` that are not complete."""
    return {directory: name for directory, name in jobs(folder).items() if not is_complete(directory)}


def load(folder: Path) -> pd.DataFrame:
    """The scores of all complete runs of the sweep in `folder`, from 0 to 1 for accuracy.

    Columns `directory`, `seed`, `after_task` (0: untrained), `eval_task`, `score` (accuracy, or the mean squared error
    of regression), the settings as on the command line (`method`, `freeze`, `method.ewc_lambda`), null where they do
    nothing, and `setting`, a short name made of those that tell the runs apart.

    Raises:
        ValueError: a run cannot be read.
    """
    found = collect(directory for directory in jobs(folder) if is_complete(directory))
    if found.left_out:
        raise ValueError(f"{found.left_out[0].directory}: {found.left_out[0].reason}")
    settings = [key for key in found.settings if key == "seed" or key not in BOOKKEEPING]
    keys, _ = distinguishing(found.table, settings)
    runs = found.table[["directory", *settings]].assign(setting=labels(found.table, keys))
    return runs.merge(pd.concat([_scores(directory) for directory in runs["directory"]]), on="directory")


def _scores(directory: str) -> pd.DataFrame:
    name = next(name for name in _SCORES if (Path(directory) / name).exists())
    table = pd.read_csv(Path(directory) / name).rename(columns={_SCORES[name]: "score"})
    return table[["after_task", "eval_task", "score"]].assign(directory=directory)


def runs(results: pd.DataFrame) -> pd.DataFrame:
    """A row per run of `results`: the directory, the seed and the settings."""
    scores = ["after_task", "eval_task", "score"]
    return results.drop(columns=scores, errors="ignore").drop_duplicates("directory", ignore_index=True)


def average_score(results: pd.DataFrame, after_task: int | None = None) -> pd.DataFrame:
    """`runs` with the mean `score` over the tasks learned so far after so many tasks; None: at the end of each run."""
    last = results.groupby("directory")["after_task"].transform("max")
    after = last if after_task is None else pd.Series(after_task, index=results.index)
    rows = results[(results["after_task"] == after) & (results["eval_task"] <= after)]
    return runs(results).merge(rows.groupby("directory", as_index=False)["score"].mean(), on="directory")


def task_score(results: pd.DataFrame, after_task: int, eval_task: int) -> pd.DataFrame:
    """`runs` with the `score` on one task after so many tasks."""
    return results[(results["after_task"] == after_task) & (results["eval_task"] == eval_task)].reset_index(drop=True)


def learning_score(results: pd.DataFrame) -> pd.DataFrame:
    """`runs` by `task`, with the `score` on each right after it was learned."""
    rows = results[results["after_task"] == results["eval_task"]]
    return rows.drop(columns="after_task").rename(columns={"eval_task": "task"}).reset_index(drop=True)


def table(results: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of another table of the runs, such as `significance.csv`, with the columns of `runs`.

    Raises:
        FileNotFoundError: a run does not have it.
    """
    kept = runs(results)
    found = [pd.read_csv(Path(folder) / name).assign(directory=folder) for folder in kept["directory"]]
    return kept.merge(pd.concat(found), on="directory")


def cost(folder: Path) -> Cost | None:
    """What the sweep in `folder` has cost, if that is known."""
    file = folder / _COST
    return Cost(**json.loads(file.read_text())) if file.exists() else None


def add_cost(folder: Path, seconds: float) -> None:
    """Add the seconds of a start of the sweep in `folder` to those of earlier ones."""
    before = cost(folder)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    total = Cost(round(seconds + (before.seconds if before else 0), 1), cores)
    write_atomically(folder / _COST, json.dumps(asdict(total)).encode())
