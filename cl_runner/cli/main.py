"""The command line: `cl-run`, a Hydra application.

Exit codes: 0 the run is complete; 1 it failed; 2 a bad setting, and nothing was created; 130 interrupted;
128 + its number where a signal ended it.
"""

import io
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr
from importlib.metadata import version
from pathlib import Path

import hydra
import psutil
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from cl_runner import IMPORTED
from cl_runner.cli.check import check
from cl_runner.cli.start import CheckBeforeStart, leave
from cl_runner.collector import without_collector
from cl_runner.config.hydra_internals import parse_options
from cl_runner.config.optuna_preset import suited_optuna
from cl_runner.config.overrides import with_entry, with_home
from cl_runner.config.presets import MAIN, config_dir
from cl_runner.config.refusals import told
from cl_runner.config.schema import Config
from cl_runner.config.whereabouts import is_about_settings
from cl_runner.errors import (
    DivergenceError,
    EndingError,
    JobError,
    LockedError,
    RefusedError,
    RunError,
    StoppedError,
    SweepError,
    WrongCommandError,
    explained,
    from_system,
)
from cl_runner.methods.acting import unused_settings
from cl_runner.output import harmless, lost_output, shield, warn
from cl_runner.results.files import LOG, mark_failed, metrics_in
from cl_runner.results.record import taken_up_by_others
from cl_runner.runs.checks import checked
from cl_runner.signals import leave_if_told, listen

_log = logging.getLogger("cl_runner")


@without_collector()
def run(composed: DictConfig, started: float | None) -> float | None:
    """Train one run as composed by Hydra, into the directory that Hydra chose.

    Args:
        composed: its settings.
        started: `time.perf_counter()` from which a run that is no job of a sweep counts its seconds; None: from now.

    Returns:
        Its objective, by which a sweeper may choose what to try next.

    Raises:
        RunError: why a job of a sweep failed, which was told. Hydra goes on with the others.
        EndingError: with the reason why a run on its own failed.
    """
    from cl_runner.metrics import objective

    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    directory = Path(HydraConfig.get().runtime.output_dir)
    try:
        # Whatever `hydra.job.chdir` says, a relative `data_dir` is one of where the command was started.
        with chdir(HydraConfig.get().runtime.cwd):
            config = checked(composed).with_save(in_sweep=in_sweep)
            _train(config, in_sweep, started)
    except Exception as error:
        leave_if_told()
        reason = explained(error, directory / LOG)
        _log.error(reason)
        if not isinstance(error, LockedError):
            mark_failed(directory, str(reason))
        if not in_sweep:
            raise EndingError(reason) from error
        _tell(reason)
        raise reason from None
    return objective(metrics_in(directory), config.objective)


def _train(config: Config, in_sweep: bool, started: float | None) -> None:
    from rich.console import Console

    from cl_runner.cli.show import show_place, show_results
    from cl_runner.methods.titles import describe
    from cl_runner.runs.drawing import draw_all
    from cl_runner.runs.loop import run_stack
    from cl_runner.runs.progress import TerminalProgress

    console = Console()
    directory = Path(HydraConfig.get().runtime.output_dir)
    unused = unused_settings(config, HydraConfig.get().overrides.task).values()
    for line in filter(None, [*unused, taken_up_by_others(directory)]):
        _log.warning(line)
        console.print(f"[yellow]warning:[/yellow] {line}", highlight=False, soft_wrap=True)
    draw = config.plots == "all" or (config.plots == "auto" and not in_sweep)
    with TerminalProgress(console) as progress:
        try:
            since = None if in_sweep else started
            (recorder,) = run_stack([config], [directory], progress, started=since)
        except OSError as error:
            raise from_system(error) from error
    if recorder.failure:
        raise DivergenceError(recorder.failure)
    with harmless("the run is complete, but was not shown"):
        show_results(console, describe(config), recorder.matrix[1:], recorder.metrics)
    if draw:
        draw_all([config], [recorder])
    with harmless("the run is complete, but was not shown"):
        show_place(console, directory)
    if lost := lost_output():
        _log.warning(f"standard output is incomplete: {lost.strerror}")


def command(arguments: Sequence[str], started: float | None = None) -> None:
    """Do what `cl-run` does with these arguments; `started` is as in `run`.

    Raises:
        RunError: why the run failed, or why it or the sweep was refused.
        RefusedError, JobError: why no job of a sweep could be begun, or some failed, which was told.
        StoppedError: a signal asked for it.
    """

    def task(composed: DictConfig) -> float | None:
        return run(composed, started)

    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    # Has Hydra raise errors instead of printing them and leaving, so that they come out here as one line.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [*sys.argv[:1], *(with_entry(with_home(argument)) for argument in arguments)]
    try:
        _order_options()
        try:
            with suited_optuna():
                hydra.main(str(config_dir()), "config", **MAIN)(task)()
        except Exception:
            leave_if_told()
            raise
    except EndingError as ending:
        raise ending.reason from None
    except (SweepError, WrongCommandError, RefusedError):
        raise
    except RunError as error:
        raise JobError(error) from error
    except Exception as error:
        # What logging says when it cannot open its file.
        refused = error.__cause__ if type(error) is ValueError else error
        if before[1] == "1" or not (isinstance(refused, OSError) or is_about_settings(error)):
            raise
        if not isinstance(refused, OSError):
            raise told(error) from error
        # One without a number is not the system's, and has words of its own, which a name would replace.
        if refused.errno is not None:
            refused.filename = refused.filename or CheckBeforeStart.directory
        raise told(refused) from error
    finally:
        leave()
        sys.argv = before[0]
        if before[1] is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before[1]


def main() -> int:
    """Entry point of `cl-run`; returns the exit code."""
    if "--version" in sys.argv[1:]:
        print(f"cl-runner {version('cl-runner')}")
        return 0
    listen()
    # Where the disk is full, the error that is told says so, and not the log file's own.
    logging.raiseExceptions = False
    try:
        if sys.argv[1:2] == ["check"]:
            return check(sys.argv[2:])
        command(sys.argv[1:], IMPORTED)
    except KeyboardInterrupt:
        print("interrupted; what was recorded stays, and the same command goes on from it", file=sys.stderr)
        return 130
    except (RefusedError, JobError) as error:
        return error.exit_code
    except (RunError, StoppedError) as error:
        _tell(error)
        return error.exit_code
    return 0


def _order_options() -> None:
    """Refuse in one line the options that Hydra would answer by its usage, or pass over; put the others first.

    Raises:
        WrongCommandError: an unknown option, or a folder of presets with a `config.yaml` that nobody reads.
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            options = parse_options()
    except SystemExit as error:
        raise WrongCommandError(said.getvalue().strip().rpartition("error: ")[2] + "; see cl-run --help") from error
    own = Path(options.config_dir or "") / "config.yaml"
    if options.config_dir and options.config_name in (None, "config", "config.yaml") and own.exists():
        raise WrongCommandError(
            f"--config-dir: got {options.config_dir}, whose config.yaml would not be read, allowed: a folder of "
            "presets, DIR/method/NAME.yaml; one of all kinds of settings is DIR/experiment/NAME.yaml"
        )
    # Hydra 1.3 knows no options between overrides.
    others = sys.argv[1:]
    for override in options.overrides:
        others.remove(override)
    sys.argv[1:] = [*others, *options.overrides]


def entry() -> None:
    """Console script: leave without taking torch's modules apart, which takes more than a second.

    Where a launcher has started processes the usual way is taken, on which they are told to end.
    """
    shield()
    code = main()
    if lost := lost_output():
        warn(f"standard output is incomplete: {lost.strerror}")
    if psutil.Process().children():
        sys.exit(code)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _tell(error: RunError | StoppedError) -> None:
    print(f"error: {error}", file=sys.stderr)
