"""The runs of a sweep as a table, for whoever goes on with it in Python."""

from pathlib import Path
from typing import Any

import pandas as pd

from cl_runner.config.plain_settings import dotted
from cl_runner.errors import DamagedError
from cl_runner.metrics import SCORES, metric_names
from cl_runner.report.collect import collect
from cl_runner.report.identity import without_idle
from cl_runner.report.scores import RESULTS, with_validation
from cl_runner.report.settings import NAMES, as_column, varying
from cl_runner.results.recorded import RunFiles
from cl_runner.sweeps.status import reason_of

# Columns that are neither settings that vary nor metrics.
_OWN = ("directory", "seed", "failed")


def runs_table(folder: Path) -> pd.DataFrame:
    """A row per run in and below `folder`, in the order of their directories.

    Columns are those of `runs.csv` (`cl-report`): `directory`, `seed`, the settings that vary, named as on the command
    line, and the metrics; accuracies are from 0 to 1. A setting that does nothing in a run is null, and so are the
    metrics of one that is unfinished, was dropped by a search, or failed. The last column, `failed`, says why it did,
    and is null in the others.
    """
    found = collect([folder])
    rows: list[dict[str, Any]] = [
        {str(key): value for key, value in row.items()} for row in found.table.to_dict("records")
    ]
    for run in found.left_out:
        if run.state == "duplicate":
            continue
        failed = None if run.state in ("unfinished", "dropped") else run.reason
        if run.state == "failed":
            # Without its overrides, which are columns here.
            failed = reason_of(run.directory)
        rows.append({"directory": str(run.directory), "failed": failed, **_settings(run.directory)})
    rows.sort(key=lambda row: [part.zfill(12) for part in Path(row["directory"]).parts])
    known = [row for row in rows if "seed" in row]
    keys = list(dict.fromkeys(key for row in known for key in row if key not in (*_OWN, *RESULTS)))
    settings = pd.DataFrame({key: as_column([row.get(key) for row in known]) for key in keys})
    scores = {row.get("score") for row in rows}
    metrics = dict.fromkeys(name for score in SCORES if score in scores for name in metric_names(score))
    shown = ["seed", *varying(settings, keys), *with_validation(found.table, list(metrics))]
    columns = {key: as_column([row.get(key) for row in rows]) for key in shown}
    words = {key: pd.Series([row.get(key) for row in rows], dtype=object) for key in ("directory", "failed")}
    return pd.DataFrame({"directory": words["directory"], **columns, "failed": words["failed"]})


def _settings(directory: Path) -> dict[str, Any]:
    """Those of a run that has no metrics, named as `collect` does; none if they were not recorded."""
    try:
        config = RunFiles(directory).settings
    except (DamagedError, OSError):
        return {}
    return without_idle({NAMES.get(key, key): value for key, value in dotted(config)}, config)[0]
