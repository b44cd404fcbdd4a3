"""The figures of finished runs, which are complete without them."""

from collections.abc import Sequence

from cl_runner.config.schema import Config
from cl_runner.methods.titles import describe
from cl_runner.output import warn
from cl_runner.results.figures import draw_figures
from cl_runner.results.files import is_complete
from cl_runner.results.run import Run
from cl_runner.runs.recorder import Recorder


def draw_all(configs: Sequence[Config], recorders: Sequence[Recorder]) -> None:
    """Draw the figures of those of the runs that are complete; what goes wrong is told once, and in each one's log.

    Args:
        configs: of the runs.
        recorders: theirs, as `cl_runner.runs.loop.run_stack` returns them.
    """
    failed: dict[str, list[Recorder]] = {}
    for config, recorder in zip(configs, recorders, strict=True):
        if not is_complete(recorder.directory):
            continue
        try:
            draw_figures(Run(recorder.directory), describe(config))
        except Exception as error:
            reason = f"the figures were not drawn: {type(error).__name__}: {error}"
            recorder.note(reason)
            failed.setdefault(reason, []).append(recorder)
    for reason, those in failed.items():
        more = f" and {len(those) - 1} more" if len(those) > 1 else ""
        warn(f"{those[0].directory}{more}: {reason}")
