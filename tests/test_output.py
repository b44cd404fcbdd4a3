"""What a command shows may fail, and what it draws: its results are in files, and complete before."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeConfig
from fake_runs import write_run
from test_cli import QUICK, Runner, cl_run
from test_runner import Silent

from cl_runner.errors import StoppedError
from cl_runner.methods.titles import describe
from cl_runner.report import drawing
from cl_runner.results.figures import draw_figures
from cl_runner.results.files import COMPLETE, LOG, is_complete
from cl_runner.results.plotting import plain_style
from cl_runner.results.run import Run, load_run
from cl_runner.runs.drawing import draw_all
from cl_runner.runs.loop import run_stack

__all__ = ["cl_run"]

# What a notebook, a cron job or an old site passes on.
STRANGE = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "COLUMNS": "0",
    "LINES": "0",
    "TERM": "unheard-of",
}
SINGLE = ["method=ewc", *QUICK, "hydra.run.dir=run"]


def started(arguments: Sequence[str], place: Path, redirected: str = "", **environment: str) -> "subprocess.Popen[str]":
    """A Python process, by way of a shell that redirects what it shows."""
    command = ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, *arguments]
    given = os.environ | environment
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=place, env=given, stdout=pipe, stderr=pipe, text=True, encoding="utf-8")


PRINTS = """
import sys
from cl_runner.output import lost_output, shield
shield()
for _ in range(3000):
    print("\\u03bb = 10, in \\udcc3")
print("said", file=sys.stderr)
with open("results", "w") as file:
    assert file.fileno() > 2
    file.write("whole")
lost = lost_output()
open("told", "w").write(lost.strerror if lost else "")
"""


@pytest.mark.parametrize(
    ("redirected", "lost", "error"),
    [
        ("", "", "said\n"),
        (">&-", "", "said\n"),
        ("2>&-", "", ""),
        ("<&- >&- 2>&-", "", ""),
        (">/dev/full", "No space left on device", "said\n"),
        (">/dev/full 2>&1", "No space left on device", ""),
        ("2>/dev/full", "", ""),
        (">/dev/null </dev/null 1<&0", "Bad file descriptor", "said\n"),
    ],
)
def test_output_that_cannot_be_written(redirected: str, lost: str, error: str, tmp_path: Path) -> None:
    process = started(["-c", PRINTS], tmp_path, redirected, LC_ALL="C", PYTHONUTF8="0")
    output, said = process.communicate()
    assert (process.returncode, said) == (0, error)
    assert (tmp_path / "results").read_text() == "whole"
    assert (tmp_path / "told").read_text() == lost
    if "2>" in redirected and "1" not in redirected and "<" not in redirected:
        assert output == "\\u03bb = 10, in \\udcc3\n" * 3000


def test_output_that_nobody_reads_on(tmp_path: Path) -> None:
    with started(["-c", PRINTS], tmp_path) as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 0
    assert ((tmp_path / "results").read_text(), (tmp_path / "told").read_text()) == ("whole", "")


def test_a_terminal_that_goes_away(tmp_path: Path) -> None:
    ours, its = os.openpty()
    with subprocess.Popen([sys.executable, "-c", PRINTS], cwd=tmp_path, stdout=its, stderr=its) as process:
        os.close(its)
        os.read(ours, 100)
        # It is not the process's own, so that no SIGHUP ends it, as under nohup.
        os.close(ours)
    assert process.returncode == 0
    assert (tmp_path / "results").read_text() == "whole"
    assert (tmp_path / "told").read_text() == "Input/output error"


def test_output_that_is_full_for_a_while(tmp_path: Path) -> None:
    # Others at the same terminal may have set it so that it does not wait.
    with started(["-c", f"import os\nos.set_blocking(1, False)\n{PRINTS}"], tmp_path) as process:
        assert process.stdout
        # A pipe holds 64 kilobytes, and they are there at once.
        time.sleep(0.5)
        assert len(process.stdout.readlines()) == 3000
    assert process.returncode == 0


def test_a_run_in_a_strange_environment_whose_output_is_full(tmp_path: Path) -> None:
    (tmp_path / "ü").mkdir()
    # Read by matplotlib before its user's own.
    (tmp_path / "ü" / "matplotlibrc").write_text("text.usetex: true\nfont.family: nowhere\nwrong key\n")
    process = started(["-m", "cl_runner", *SINGLE], tmp_path / "ü", ">/dev/full", **STRANGE)
    error = process.communicate()[1]
    assert (process.returncode, error) == (0, "warning: standard output is incomplete: No space left on device\n")
    run = tmp_path / "ü" / "run"
    assert is_complete(run)
    assert "standard output is incomplete" in (run / LOG).read_text(encoding="utf-8")
    assert (run / "training.png").stat().st_size > 10_000


def test_a_run_whose_reader_leaves(tmp_path: Path) -> None:
    with started(["-m", "cl_runner", *SINGLE, "plots=none"], tmp_path) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("task 1/2")
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert is_complete(tmp_path / "run")


def test_a_sweep_that_nobody_listens_to(tmp_path: Path) -> None:
    sweep = ["-m", "hydra/launcher=stacked", "hydra.launcher.workers=2", *QUICK, "seed=0,1", "hydra.sweep.dir=s"]
    with started(["-m", "cl_runner", *sweep], tmp_path, ">&-", **STRANGE) as process:
        assert process.stderr
        assert process.stderr.readline() == "composing 2 jobs\n"
        process.stderr.close()
    assert process.returncode == 0
    assert is_complete(tmp_path / "s" / "0")
    assert is_complete(tmp_path / "s" / "1")


@pytest.mark.parametrize(
    ("redirected", "code", "error"),
    [
        (">/dev/full", 1, "error: standard output: No space left on device\n"),
        (">&-", 0, ""),
        (">/dev/full 2>&-", 1, ""),
    ],
)
def test_a_table_that_cannot_be_printed_is_what_was_asked_for(
    redirected: str, code: int, error: str, tmp_path: Path
) -> None:
    write_run(tmp_path / "0", 0.5)
    (tmp_path / "multirun.yaml").touch()
    report = "from cl_runner.report.cli import entry; entry()"
    process = started(["-c", report, "--status", "."], tmp_path, redirected, **STRANGE)
    assert process.communicate()[1] == error
    assert process.returncode == code


def test_figures_that_cannot_be_drawn_cost_no_results(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(run: Run, _: str) -> None:
        assert is_complete(run.path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cl_runner.runs.drawing.draw_figures", fail)
    directories = [tmp_path / "0", tmp_path / "1"]
    configs = [make_config(*QUICK, f"seed={seed}") for seed in (0, 1)]
    draw_all(configs, run_stack(configs, directories, Silent()))
    reason = "the figures were not drawn: OSError: [Errno 28] No space left on device\n"
    assert capsys.readouterr().err == f"warning: {tmp_path / '0'} and 1 more: {reason}"
    for directory in directories:
        assert is_complete(directory)
        assert (directory / LOG).read_text().endswith(f"[cl_runner][WARNING] {reason}")


def test_a_signal_while_figures_are_drawn_is_no_failure_to_draw(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise StoppedError(15)

    monkeypatch.setattr("cl_runner.runs.drawing.draw_figures", stop)
    config = make_config(*QUICK)
    recorders = run_stack([config], [tmp_path], Silent())
    with pytest.raises(StoppedError):
        draw_all([config], recorders)
    assert is_complete(tmp_path)


def test_results_that_cannot_be_shown_are_complete(
    cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("unknown terminal")

    monkeypatch.setattr("cl_runner.cli.show.show_results", fail)
    code, _, error = cl_run(*SINGLE, "plots=none")
    assert (code, error) == (0, "warning: the run is complete, but was not shown: ValueError: unknown terminal\n")
    assert "but was not shown" in (tmp_path / "run" / LOG).read_text()
    assert json.loads((tmp_path / "run" / COMPLETE).read_text()) == {"format": 1, **load_run(tmp_path / "run").metrics}


USERS: dict[Any, Any] = {
    "text.usetex": True,
    "font.family": "nowhere",
    "savefig.dpi": 30,
    "axes.facecolor": "red",
    "lines.marker": "x",
}


def test_a_users_defaults_change_no_figure(make_config: MakeConfig, tmp_path: Path) -> None:
    from matplotlib import rc_context

    config = make_config(*QUICK, "method=global_mask")
    draw_all([config], run_stack([config], [tmp_path], Silent()))
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.png")}
    assert len(before) == 4
    with rc_context(USERS):
        draw_figures(Run(tmp_path), describe(config))
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.png")} == before


def test_a_users_defaults_change_no_figure_of_a_report() -> None:
    from matplotlib import rc_context

    def drawn() -> drawing.Drawing:
        with drawing.style():
            figure = drawing.new_figure(3, 2)
            figure.add_subplot().plot([1, 2, 3], [1, 4, 2])
            return drawing.finish(figure, "name", "title", "subtitle", "caption")

    before = drawn()
    with rc_context(USERS):
        assert drawn() == before


def test_a_style_ends_with_what_is_drawn() -> None:
    from matplotlib import rcParams

    size = rcParams["font.size"]
    with plain_style({"font.size": size + 1}):
        assert rcParams["font.size"] == size + 1
    assert rcParams["font.size"] == size
