"""Where Hydra was when it raised an error that does not tell: the calls that the error has passed."""

from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, configure_log, run_job

from cl_runner.config.hydra_files import HydraFiles
from cl_runner.config.hydra_internals import CREATE_CALLBACKS, LOAD_CONFIG, LOAD_DEFAULTS, LOAD_PRESET

# What these hold was chosen on the command line.
PRIMARY = ("config", "hydra/config")


def _code(code: CodeType) -> tuple[str, str]:
    """What a function is known by: Hydra imports its plugins once more, which gives other objects."""
    return code.co_filename, code.co_qualname


# Modules that have Hydra put the settings of jobs together, or parse overrides.
_SWEEPING = ("cl_runner.sweeps.sweeper", "cl_runner.sweeps.grids", "cl_runner.sweeps.search.sweeper")
# These begin the log of a job.
_JOBS = {_code(run_job.__code__), _code(HydraFiles.write.__code__)}
_JOB = _code(vars(JobReturn)["return_value"].fget.__code__)
# Of these settings that are Hydra's own code is at work.
_OF_SETTINGS = {
    _code(CREATE_CALLBACKS.__code__): "hydra.callbacks",
    _code(Plugins.instantiate_launcher.__code__): "hydra.launcher",
    _code(Plugins.instantiate_sweeper.__code__): "hydra.sweeper",
}


def is_about_settings(error: BaseException) -> bool:
    """Whether Hydra raised `error` while it put settings together; else it comes from a job, or from code of ours."""
    # The first frame is that of whoever asks.
    inner = list(_frames(error))[1:]
    modules = [frame.f_globals.get("__name__", "") for frame in inner]
    ours = any(name.startswith("cl_runner.") and name not in _SWEEPING for name in modules)
    return not (ours or any(_code(frame.f_code) == _JOB for frame in inner))


def place_of(error: BaseException) -> Override | str:
    """Where Hydra was when it raised `error`: at an override, a preset's file, settings of its own; or empty."""
    frames = [frame for part in (error, error.__cause__, error.__context__) if part for frame in _frames(part)]
    for frame in reversed(frames):
        if _code(frame.f_code) == _code(LOAD_PRESET.__code__):
            return _file(frame.f_locals)
        if isinstance(error, KeyError) and _code(frame.f_code) == _code(LOAD_CONFIG.__code__):
            return "hydra.job.env_copy"
        if isinstance(override := frame.f_locals.get("override"), Override):
            return override
        if _code(frame.f_code) == _code(LOAD_DEFAULTS.__code__):
            return _listed(frame)
        if _code(frame.f_code) in _OF_SETTINGS:
            return _OF_SETTINGS[_code(frame.f_code)]
        if _code(frame.f_code) == _code(configure_log.__code__):
            within_job = any(_code(outer.f_code) in _JOBS for outer in frames)
            return "hydra.job_logging" if within_job else "hydra.hydra_logging"
    return ""


def _listed(frame: FrameType) -> str:
    path = str(frame.f_locals["root"].node.get_config_path())
    return "" if path in (*PRIMARY, "_dummy_empty_config_") else f"{path}.yaml"


def _file(names: dict[str, Any]) -> str:
    """The file that `LOAD_PRESET` reads, by its variables."""
    file, source = f"{names['config_path'].removesuffix('.yaml')}.yaml", names.get("source")
    return str(Path(source.path, file)) if source is not None and source.scheme() == "file" else file


def _frames(error: BaseException) -> Iterator[FrameType]:
    """Those that an error has passed, the innermost last."""
    trace = error.__traceback__
    while trace:
        yield trace.tb_frame
        trace = trace.tb_next
