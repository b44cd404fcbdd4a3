"""The sweeper `hydra/sweeper=search`: Optuna looks for the best setting, and every batch of its trials is a stack.

What is asked and told is kept in `search.json`, all else in the runs' own files: killed at any moment and started again
by the same command, a search goes on and ends as it would have.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from cl_runner.config.plain_settings import dotted
from cl_runner.config.refusals import refusal
from cl_runner.config.schema import INCIDENTAL, Config, values_before
from cl_runner.errors import ConfigError, DamagedError, SweepError, WrongCommandError
from cl_runner.limits import cores
from cl_runner.runs.checks import checked
from cl_runner.signals import held_back
from cl_runner.sweeps.search.batch import compete
from cl_runner.sweeps.search.conclusion import conclude, in_lines
from cl_runner.sweeps.search.progress import SearchProgress
from cl_runner.sweeps.search.record import Record, check_same, read, write
from cl_runner.sweeps.search.space import SPACE, Dimension, overrides, parsed
from cl_runner.sweeps.search.study import Searcher
from cl_runner.sweeps.search.training import Trainer
from cl_runner.sweeps.workers import Workers
from cl_runner.terminal import plain

# What a search that is started again may have changed; more trials too.
_FREE = ("_target_", "trials", "fresh_seeds")


def search(context: HydraContext, config: DictConfig, given: Sequence[str]) -> None:
    """Search, or go on with the search in the sweep's directory.

    Args:
        context: Hydra's.
        config: of the sweep.
        given: the overrides of the command line.

    Raises:
        WrongCommandError: the space, or another setting, is wrong, or not that of the search that lies there.
        SweepError: the record of that search is damaged, no trial came to its end, or no run on fresh seeds.
    """
    settings: Any = OmegaConf.to_container(config.hydra.sweeper)
    sweep, trials = Path(config.hydra.sweep.dir), settings["trials"]
    try:
        space = parsed(settings["space"])
        default = _checked(context, config, given, space)
        tasks, first = default.benchmark.tasks, default.seed
        searcher = Searcher(space, settings, tasks * settings["seeds"])
        record = _record(sweep, settings, default)
    except ConfigError as error:
        raise WrongCommandError(str(error)) from error
    except DamagedError as error:
        raise SweepError(str(error)) from error
    sweep.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, sweep / "multirun.yaml")
    workers = config.hydra.launcher.workers or cores()
    words = f"batches of {settings['batch']}, {settings['sampler']}, {settings['pruner']}"
    with (
        Workers(workers) as pool,
        SearchProgress(Console(stderr=True), record, trials, words) as progress,
    ):
        trainer = Trainer(context, config, pool, workers, progress)
        seeds = range(first, first + settings["seeds"])
        while record.asked or len(record.told) < trials:
            if not record.asked:
                record.trials += searcher.ask(record.told, min(settings["batch"], trials - len(record.told)))
                write(sweep, record)
            batch = record.asked
            compete(record, searcher, trainer, progress, given, seeds, tasks)
            write(sweep, record)
            progress.told(record, batch)
        best = record.best
        if best is None:
            raise SweepError(f"no trial came to its end; the last one failed: {record.trials[-1].reason}")
        fresh = range(seeds.stop, seeds.stop + settings["fresh_seeds"])
        record.result = conclude(record, best, trainer, progress, given, fresh, tasks)
        write(sweep, record)
    lines = [*in_lines(record.result, trials), f"all runs are in {sweep}, for figures: cl-report {sweep}"]
    Console().print("\n".join(map(plain, lines)), highlight=False, soft_wrap=True)


def _checked(context: HydraContext, config: DictConfig, given: Sequence[str], space: Mapping[str, Dimension]) -> Config:
    """The default setting; raises `ConfigError` if that is wrong, or an end of a dimension."""
    for override in OverridesParser.create(context.config_loader).parse_overrides(list(given)):
        if override.is_sweep_override():
            raise ConfigError(
                f"{override.key_or_group}: got several values, allowed: one, which {SPACE} may replace, by a range "
                "or a choice"
            )
    default = _composed(context, config, given)
    for key, dimension in space.items():
        for end in dimension.ends:
            try:
                _composed(context, config, overrides({key: end}, given))
            except ConfigError as error:
                raise ConfigError(f"{SPACE}.{key}: {error}") from error
    return default


def _composed(context: HydraContext, config: DictConfig, job: Sequence[str]) -> Config:
    try:
        with held_back():
            composed = context.config_loader.load_sweep_config(config, list(job))
    except Exception as error:
        # Of wrong presets Hydra raises what it happens to stumble over.
        raise refusal(error) from error
    return checked(composed, here=False)


def _record(sweep: Path, settings: Mapping[str, Any], default: Config) -> Record:
    """That of the search in this directory, or a new one."""
    own = {f"hydra.sweeper.{key}": value for key, value in settings.items() if key not in _FREE}
    own |= {key: value for key, value in dotted(default) if key not in INCIDENTAL}
    fixed: dict[str, Any] = json.loads(json.dumps(own))
    record = read(sweep)
    if record is None:
        return Record(fixed)
    record.settings = dict(values_before()) | record.settings
    check_same(sweep, record, {**dict(values_before()), **fixed}, settings["trials"])
    record.settings = fixed
    return record
