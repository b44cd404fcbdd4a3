"""A folder of runs may be somebody else's: what is wrong there is named, and nothing in it does anything."""

import csv
import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_runs import write_config, write_failure, write_record, write_run
from test_reading import BOMB

from cl_runner import load_run
from cl_runner.errors import DamagedError
from cl_runner.report.cli import main
from cl_runner.report.collect import collect
from cl_runner.report.gallery import Section, significance_histograms
from cl_runner.report.page import page
from cl_runner.report.selection import costs_of, picks
from cl_runner.report.summary import summarise
from cl_runner.report.sweeps import draw_sweep
from cl_runner.report.terminal import as_text
from cl_runner.report.words import verdict
from cl_runner.results.files import COMPLETE
from cl_runner.sweeps.status import statuses

MARKUP = 'x"><img src=q onerror=alert(1)>'
HOSTILE = [
    MARKUP,
    "</script><script>alert(1)</script>",
    "x/../../../OUTSIDE",
    "$\\frac{$ and $",
    "_hidden",
    "=1+1",
    "[bold]loud[/bold] [/]",
    "\x1b[31mred\x1b[0m",
    "学习",
    "long " * 500,
    '\\1 \\g<0> ]]> <!-- id="a" url(#b',
]


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attributes]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def change(run: Path, **settings: Any) -> None:
    """Change settings of a run, of the group `method` if a key is no other's."""
    file = run / ".hydra" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(config | settings))


def words_of(svg: Path) -> set[str]:
    nodes = ElementTree.fromstring(svg.read_text()).iter()
    return {"".join(node.itertext()).strip() for node in nodes if node.tag.endswith("text")}


def left_out(folder: Path) -> dict[str, str]:
    return {item.directory.name: item.reason for item in collect([folder]).left_out}


def entries(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_names_and_values_do_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = tmp_path / "sweep"
    for number, name in enumerate(HOSTILE):
        for seed in range(2):
            run = write_run(sweep / f"{number}-{seed}", 0.5 + 0.03 * number + 0.01 * seed, seed, method__name=name)
    write_failure(sweep / "failed", f"{MARKUP} \x1b[2J [red]no[/red] [/]")
    write_config(sweep / "bad", "ewc", 7, {})
    (sweep / "bad" / ".hydra" / "overrides.yaml").write_text("- '\x7f'\n")
    (sweep / "=odd \x1b[31m[b]").mkdir()
    run.rename(sweep / "=odd \x1b[31m[b]" / "\udcff")
    before = entries(tmp_path)
    assert main([str(sweep)]) == 0
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert "[bold]loud[/bold] [/]" in printed.out
    assert r"\x1b[2J [red]no[/red] [/]" in printed.out
    new = entries(tmp_path) - before
    assert all(re.fullmatch(r"sweep/report(/[A-Za-z0-9_.-]+)?", name) for name in new)
    html = (sweep / "report" / "report.html").read_text()
    found = Tags(html)
    assert "img" not in found.tags
    assert found.tags.count("script") == 1
    assert not [name for name in found.attributes if name.startswith("on")]
    assert not set(html) & {"\x1b", "\x00", "\x7f"}
    assert MARKUP in " ".join(found.words)
    for file in (sweep / "report").glob("*.svg"):
        ElementTree.fromstring(file.read_text())
    assert words_of(sweep / "report" / "ranking.svg") >= {f"1. {HOSTILE[-1]}", "7. _hidden", "8. $\\frac{$ and $"}
    assert words_of(sweep / "report" / "accuracy_over_tasks.svg") >= {HOSTILE[-1], "_hidden"}
    for file in (sweep / "report").glob("*.csv"):
        for row in csv.reader(file.read_text().splitlines()):
            assert not [field for field in row if re.match(r"[=+@\t\r]|-[^\d]", field)]
    assert "'=1+1" in (sweep / "report" / "summary.csv").read_text()
    assert set(pd.read_parquet(sweep / "report" / "runs.parquet")["method"]) >= {MARKUP, "=1+1", r"\x1b[31mred\x1b[0m"}
    for form in ("csv", "markdown", "json"):
        assert main([str(sweep), "--format", form]) == 0
        data = capsys.readouterr().out
        assert "\x1b" not in data
        assert ("'=1+1" in data) == (form == "csv")
        assert "|<img" not in data.replace(" ", "")


@pytest.mark.parametrize("key", [MARKUP, "x/../../../OUTSIDE", "$a$", "=a", "\x1b[31m"])
def test_a_setting_with_such_a_name_is_none_of_ours(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cl_runner.report.build.draw_sections", lambda _: [])
    write_run(tmp_path / "sweep" / "good", 0.5)
    change(write_run(tmp_path / "sweep" / "bad", 0.9, seed=1), **{key: 1})
    before = entries(tmp_path)
    assert main([str(tmp_path / "sweep")]) == 0
    assert all(name.startswith("sweep/report") for name in entries(tmp_path) - before)
    assert "unknown setting" in left_out(tmp_path)["bad"]
    html = (tmp_path / "sweep" / "report" / "report.html").read_text()
    assert "unknown setting" in html
    assert "img" not in Tags(html).tags
    assert "\x1b" not in html + capsys.readouterr().out
    assert "average accuracy 50.0 %" in html


@pytest.mark.parametrize("key", HOSTILE)
def test_a_columns_name_does_nothing(key: str, tmp_path: Path) -> None:
    for number in range(4):
        write_run(tmp_path / str(number), 0.5 + 0.1 * (number // 2), number)
    runs = collect([tmp_path]).table.assign(**{key: [1.0, 1.0, 10.0, 10.0]})
    summary = summarise(runs, [key], "average_accuracy")
    costs = costs_of(picks(runs, [key], "average_accuracy"), runs, "average_accuracy")
    drawing = draw_sweep(summary, key, "-1")
    assert re.fullmatch(r"sweep_[A-Za-z0-9_.-]{1,80}-1", drawing.name)
    ElementTree.fromstring(drawing.svg)
    section = Section(key, [drawing], [key])
    html = page(summary, [verdict("", summary)], [section], [], [], None, costs, {key: key}, {key: key})
    assert "img" not in Tags(html).tags
    assert Tags(html).tags.count("script") == 1
    first = as_text(summary.table, "csv").partition(",")[0]
    assert first.strip('"')[0] not in "=+-@"


def test_figures_of_names_that_are_alike_have_names_of_their_own(tmp_path: Path) -> None:
    for number in range(2):
        write_run(tmp_path / str(number), 0.5 + 0.1 * number)
    # The same settings but for those added.
    assert len(collect([tmp_path]).table) == 1
    runs = pd.concat([collect([tmp_path / str(number)]).table for number in range(2)], ignore_index=True)
    runs = runs.assign(**{"a b": [0.0, 1.0], "a/b": [0.0, 1.0], "a-b": [0.0, 1.0]})
    summary = summarise(runs, ["a b", "a/b", "a-b"], "average_accuracy")
    names = [draw_sweep(summary, key).name for key in ("a b", "a/b", "a-b")]
    assert len(set(names)) == 3
    assert names[2] == "sweep_a-b"


def test_no_link_is_written_through(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cl_runner.report.build.draw_sections", lambda _: [])
    write_run(tmp_path / "sweep" / "run", 0.5)
    precious, report = tmp_path / "precious", tmp_path / "sweep" / "report"
    precious.write_text("mine")
    report.mkdir()
    for name in ("report.html", "runs.csv", "summary.csv", "runs.parquet"):
        (report / name).symlink_to(precious)
    assert main([str(tmp_path / "sweep")]) == 0
    assert precious.read_text() == "mine"
    assert not (report / "report.html").is_symlink()
    # Nor is the folder one that leads elsewhere, unless its reader says so.
    report.rename(tmp_path / "elsewhere")
    report.symlink_to(tmp_path / "elsewhere")
    capsys.readouterr()
    assert main([str(tmp_path / "sweep")]) == 2
    assert f"error: {report}: got a link to {tmp_path / 'elsewhere'}, allowed: a folder" in capsys.readouterr().err
    assert main([str(tmp_path / "sweep"), "--out", str(report)]) == 0


def test_no_link_at_a_temporary_files_name_is_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_runner.report.build.draw_sections", lambda _: [])
    write_run(tmp_path / "sweep" / "run", 0.5)
    precious, report = tmp_path / "precious", tmp_path / "sweep" / "report"
    precious.write_text("mine")
    report.mkdir()
    for name in ("report.html", "runs.csv", "summary.csv", "runs.parquet"):
        (report / f".{name}.tmp").symlink_to(precious)
    main([str(tmp_path / "sweep")])
    assert precious.read_text() == "mine"


def text(file: str, content: str) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        (run / file).write_text(content)

    return write


def replaced(file: str, old: str, new: str) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        content = (run / file).read_bytes()
        assert old.encode() in content
        (run / file).write_bytes(content.replace(old.encode(), new.encode(), 1))

    return write


def pipe(file: str) -> Callable[[Path], None]:
    def make(run: Path) -> None:
        (run / file).unlink()
        os.mkfifo(run / file)

    return make


def folder(file: str) -> Callable[[Path], None]:
    def make(run: Path) -> None:
        (run / file).unlink()
        (run / file).mkdir()

    return make


def sparse(file: str) -> Callable[[Path], None]:
    def make(run: Path) -> None:
        with (run / file).open("r+b") as opened:
            opened.truncate(2**40)

    return make


CONFIG = ".hydra/config.yaml"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (text(CONFIG, BOMB), f"{CONFIG}: not valid YAML: it has an alias"),
        (text(CONFIG, "seed: 0\nmethod: &a {name: *a}\n"), f"{CONFIG}: not valid YAML: it has an alias"),
        (text(CONFIG, "a: " + "[" * 5000), f"{CONFIG}: not valid YAML"),
        (replaced(CONFIG, "seed: 3", "seed: ${oc.env:SECRET}"), f"{CONFIG}: seed: got ${{oc.env:SECRET}}, an interpol"),
        (replaced(CONFIG, "seed: 3", "seed: 3\nseed: 4"), f"{CONFIG}: not valid YAML: a key is there twice"),
        (replaced(CONFIG, "tasks: 2", "tasks: 20"), "accuracy.csv: it is not of 20 tasks of permuted"),
        (
            replaced(CONFIG, "family: permuted", "family: regression"),
            "accuracy.csv: it is not of 2 tasks of regression",
        ),
        (pipe(CONFIG), f"{CONFIG}: is no regular file"),
        (sparse(CONFIG), f"{CONFIG}: is larger than"),
        (
            replaced("accuracy.csv", "\r\n2,1,0.4,", "\r\n2,1,7.5,"),
            "accuracy.csv: accuracy: got 7.5, allowed: numbers from 0",
        ),
        (
            replaced("accuracy.csv", "\r\n2,1,0.4,", "\r\n2,1,0.5,"),
            "metrics.json: average_accuracy is not what accuracy.csv",
        ),
        (replaced("accuracy.csv", ",0.5,", ",inf,"), "accuracy.csv: not a table of numbers"),
        (replaced("accuracy.csv", "2,1,0.4", "1000000000,1,0.4"), "accuracy.csv: it has not a line for each task"),
        (pipe("accuracy.csv"), "accuracy.csv: is no regular file"),
        (sparse("accuracy.csv"), "accuracy.csv: is larger than"),
        (text("mse.csv", ""), "it has both of accuracy.csv and mse.csv"),
        (
            replaced(COMPLETE, '"average_accuracy": 0.6', '"average_accuracy": 7.5'),
            f"{COMPLETE}: average_accuracy is not",
        ),
        (replaced(COMPLETE, '"average_accuracy": 0.6', '"average_accuracy": NaN'), f"{COMPLETE}: not valid JSON: NaN"),
        (
            replaced(COMPLETE, '"average_accuracy": 0.6', '"average_accuracy": true'),
            f"{COMPLETE}: average_accuracy is not",
        ),
        (
            replaced(COMPLETE, '"average_accuracy": 0.6', '"average_accuracy": null'),
            f"{COMPLETE}: average_accuracy is not",
        ),
        (replaced(COMPLETE, "{", '{"average_accuracy": 0.6, '), f"{COMPLETE}: not valid JSON: a key is there twice"),
        (text(COMPLETE, "[" * 100_000), f"{COMPLETE}: not valid JSON"),
        (pipe(COMPLETE), f"{COMPLETE}: is no regular file"),
        (folder(COMPLETE), f"{COMPLETE}: is no regular file"),
        (text("run.json", "[]"), "run.json: not a record of a run"),
        (text("run.json", '{"format": 99, "settings": {}}'), "run.json: format: got 99, allowed: 1"),
        (text("run.json", '{"files": {"accuracy.csv": "00"}}'), "accuracy.csv: it has another checksum than run.json"),
        (text("run.json", '{"format": 1, "settings": {"seed": 0}}'), "run.json: it is damaged (its checksum differs)"),
    ],
)
def test_what_is_wrong_is_named_and_in_no_number(
    damage: Callable[[Path], None], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "5")
    write_run(tmp_path / "good", 0.7)
    run = write_run(tmp_path / "bad", 0.6, seed=3)
    damage(run)
    found = collect([tmp_path])
    assert found.table["average_accuracy"].tolist() == [0.7]
    (item,) = found.left_out
    assert (item.directory, item.state) == (run, "unreadable")
    assert item.reason.startswith(reason)
    assert "\n" not in item.reason


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (replaced("significance_histograms.csv", "-3.0", "1e300"), "low: got 1e+300, allowed: numbers from -60 to 60"),
        (replaced("significance_histograms.csv", "-3.0", "-30.0"), "lines are missing, or not those of this run"),
        (
            replaced("significance_histograms.csv", "-3.0,10", "-3.0,-10"),
            "count: got -10, allowed: whole numbers from 0",
        ),
        (replaced("significance_histograms.csv", "-3.0,10", "-3.0,90"), "lines are missing, or not those of this run"),
        (pipe("significance_histograms.csv"), "is no regular file"),
    ],
)
def test_a_damaged_histogram_is_in_no_figure(damage: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0.5)
    assert len(significance_histograms(run)) == 16
    damage(run)
    with pytest.raises(DamagedError) as caught:
        significance_histograms(run)
    assert caught.value.within(run).startswith(f"significance_histograms.csv: {reason}")


def test_a_checksum_is_of_what_is_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0.5)
    write_record(run)
    # What is in a record is taken from there.
    (run / CONFIG).unlink()
    assert collect([tmp_path]).table["average_accuracy"].tolist() == [0.5]
    record = (run / "run.json").read_text()
    (run / "run.json").write_text(record.replace('"seed": 0', '"seed": 1'))
    assert left_out(tmp_path) == {"run": "run.json: it is damaged (its checksum differs)"}
    # A whole one, but of another run.
    other = write_run(tmp_path / "other", 0.6, seed=1)
    write_record(other)
    (run / "run.json").write_bytes((other / "run.json").read_bytes())
    assert left_out(tmp_path) == {"run": "metrics.json: it has another checksum than run.json"}
    (run / "run.json").unlink()
    assert left_out(tmp_path) == {"run": "it has neither run.json nor .hydra/config.yaml"}
    (run / CONFIG).write_bytes((other / CONFIG).read_bytes())
    assert left_out(tmp_path) == {"run": "run.json: is missing, or holds nothing"}


def test_a_run_of_another_version_gives_its_network(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0.5)
    change(run, later=1)
    loaded = load_run(run)
    np.testing.assert_allclose(loaded.matrix[2], [0.2, 0.8])
    with pytest.raises(Exception, match="later: unknown setting"):
        _ = loaded.config
    # Not the settings stand in the way, but that there is no network.
    with pytest.raises(Exception, match=r"checkpoints/task_1\.safetensors: No such file"):
        loaded.network(1)


def test_links_are_followed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep, scratch = tmp_path / "sweep", tmp_path / "scratch"
    write_run(sweep / "10", 0.5, seed=10)
    write_run(scratch / "runs" / "9", 0.5, seed=9)
    write_run(scratch / "single", 0.5, seed=1)
    (sweep / "9").symlink_to(scratch / "runs" / "9")
    (sweep / "again").symlink_to(scratch / "runs")
    (sweep / "1").symlink_to("../scratch/single")
    # Loops.
    (sweep / "loop").symlink_to(".")
    (scratch / "runs" / "9" / "up").symlink_to(sweep)
    (sweep / "itself").symlink_to("itself")
    (sweep / "gone").symlink_to(tmp_path / "nowhere")
    found = collect([sweep])
    assert [Path(directory).name for directory in found.table["directory"]] == ["10", "1", "9"]
    assert left_out(sweep) == {"gone": "a link that leads nowhere", "itself": "a link that leads nowhere"}
    # What lies below by its own name is called by that.
    everything = collect([tmp_path, sweep])
    assert [str(Path(directory).relative_to(tmp_path)) for directory in everything.table["directory"]] == [
        "sweep/10",
        "scratch/runs/9",
        "scratch/single",
    ]
    jobs = {job.directory.name: job.state for job in statuses(sweep)}
    finished = dict.fromkeys(["1", "9", "10"], "finished")
    assert jobs == {**finished, "gone": "unreadable", "itself": "unreadable"}
    # A sweep behind a link.
    (scratch / "runs" / "9" / "up").unlink()
    (scratch / "runs" / "multirun.yaml").write_text("")
    place = tmp_path / "place"
    place.mkdir()
    (place / "link").symlink_to(scratch / "runs")
    assert main([str(place), "--status"]) == 0
    assert f"{place / 'link'}: 1 jobs, 1 finished" in capsys.readouterr().out


def test_folders_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cl_runner.report.build.draw_sections", lambda _: [])
    write_run(tmp_path / "0", 0.5)
    write_run(tmp_path / "1", 0.5, seed=1)
    write_run(tmp_path / "2", 0.5, seed=2)
    (tmp_path / "multirun.yaml").write_text("")
    list_of, status_of = os.scandir, Path.stat

    def scandir(path: Any) -> Any:
        if Path(path).name == "1":
            raise PermissionError(13, "Permission denied", str(path))
        return list_of(path)

    def stat(path: Path, **options: Any) -> os.stat_result:
        # Its names can be listed, and no more.
        if path.parent.name == "2":
            raise PermissionError(13, "Permission denied", str(path))
        return status_of(path, **options)

    # Who tests may be root, whom nothing is denied.
    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(Path, "stat", stat)
    assert left_out(tmp_path) == dict.fromkeys("12", "Permission denied")
    assert len(collect([tmp_path]).table) == 1
    states = {job.directory.name: (job.state, job.words) for job in statuses(tmp_path)}
    assert states == {"0": ("finished", ""), **dict.fromkeys("12", ("unreadable", "Permission denied"))}
    assert main([str(tmp_path), "--status"]) == 0
    assert "3 jobs, 1 finished, 2 unreadable" in capsys.readouterr().out
    assert main([str(tmp_path)]) == 0
    assert f"unreadable {tmp_path / '1'}: Permission denied" in capsys.readouterr().out


SWEEPER = "{_target_: x.GridSweeper, params: {}, grids: {}}"


@pytest.mark.parametrize(
    "content",
    [
        BOMB,
        "hydra: &a {sweeper: *a}",
        f"hydra: {{sweeper: {SWEEPER}, overrides: {{task: ['seed=range(0,1000000000)']}}}}",
        f"hydra: {{sweeper: {SWEEPER}, overrides: {{task: ['freeze=range(0,1,0.000000001)']}}}}",
        f"hydra: {{sweeper: {SWEEPER}, overrides: {{task: ['seed=range(0,9,0)']}}}}",
        f"hydra: {{sweeper: {SWEEPER}, overrides: {{task: {['a' + str(n) + '=1,2,3,4' for n in range(30)]}}}}}",
        f"hydra: {{sweeper: {SWEEPER}, overrides: {{task: ['a=[']}}}}",
        f"hydra: {{sweeper: {SWEEPER}, overrides: {{task: [1, 2]}}}}",
        "hydra: {sweeper: [], overrides: {task: 1}}",
    ],
)
def test_the_record_of_a_sweep_is_somebody_elses_too(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "$(reboot) \x1b[2J"
    write_failure(sweep / "0", "\x1b[2J [red]no[/red] [/]")
    (sweep / "multirun.yaml").write_text(content)
    assert main([str(sweep), "--status"]) == 0
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert r"\x1b[2J [red]no[/red] [/]" in output
    assert "multirun.yaml cannot be read: start the sweep by its command, with $'hydra.sweep.dir=" in output


@pytest.mark.parametrize("content", ["[" * 100_000, '{"reason": NaN}', json.dumps({"reason": 1, "a": [[]]})])
def test_a_reason_of_any_kind(content: str, tmp_path: Path) -> None:
    write_failure(tmp_path / "0", "")
    (tmp_path / "0" / "failed.json").write_text(content)
    reason = left_out(tmp_path)["0"]
    assert reason in ("failed.json cannot be read", "1")


def test_a_pipe_in_place_of_any_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    write_failure(tmp_path / "failed", "so")
    pipe("failed.json")(tmp_path / "failed")
    write_config(tmp_path / "started", "ewc", 0, {})
    for name in ("state.safetensors", "training.csv", ".hydra/overrides.yaml"):
        os.mkfifo(tmp_path / "started" / name)
    write_failure(tmp_path / "other", "so")
    (tmp_path / "other" / ".hydra").mkdir()
    os.mkfifo(tmp_path / "other" / ".hydra" / "overrides.yaml")
    assert left_out(tmp_path)["failed"] == "failed.json cannot be read"
    words = {job.directory.name: job.words for job in statuses(tmp_path)}
    none = "it has no saved state"
    assert words == {"failed": f"failed.json cannot be read; {none}", "other": "so", "started": none}
