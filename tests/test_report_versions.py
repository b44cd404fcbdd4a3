"""What a report says of runs that different versions trained."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import MakeConfig
from fake_runs import write_run

from cl_runner.report.cli import main
from cl_runner.report.versions import recorded_sessions, versions_in_words

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def session(torch: str = "2.6.0", commit: str | None = None) -> dict[str, Any]:
    return {"versions": {"cl-runner": "0.1.0", "torch": torch, "python": "3.12.1"}, "commit": commit}


def test_nothing_is_said_of_one_version() -> None:
    assert versions_in_words({"a": [session()], "b": [session(), session()]}) == []
    # What is unknown is no other version.
    assert versions_in_words({"a": [session()], "b": [], "c": [{}], "d": [session(commit=COMMIT)]}) == []


def test_several_versions_are_counted() -> None:
    runs = {f"a{number}": [session()] for number in range(12)} | {
        f"b{number}": [session("2.7.1")] for number in range(8)
    }
    (line,) = versions_in_words(runs)
    assert line == (
        "Several versions of torch trained these runs: 12 runs by 2.6.0, 8 runs by 2.7.1. "
        "Differences may come from that."
    )
    (line,) = versions_in_words({**runs, "c": []})
    assert "8 runs by 2.7.1, 1 run by one that is unknown. " in line


def test_several_commits() -> None:
    runs = {"a": [session(commit=COMMIT)], "b": [session(commit=f"{COMMIT}+changes")], "c": [session(commit=COMMIT)]}
    (line,) = versions_in_words(runs)
    assert "Several commits of cl-runner trained these runs: 2 runs by 0123456789, 1 run by 0123456789+changes." in line


def test_a_run_that_others_went_on_with_is_named() -> None:
    runs = {"multirun/3": [session(), session("2.7.1"), session("2.7.1")], "multirun/4": [session(), session()]}
    several, taken_up = versions_in_words(runs)
    assert "1 run by 2.6.0, 1 run by 2.6.0 and then 2.7.1." in several
    assert taken_up == ("1 run was gone on with by other versions than began it: multirun/3 (torch 2.6.0, now 2.7.1).")
    many = {str(number): [session(), session("2.7.1")] for number in range(5)}
    (taken_up,) = versions_in_words(many)[-1:]
    assert taken_up.startswith("5 runs were gone on with by other versions than began them: 0 (")
    assert taken_up.endswith("; 2 (torch 2.6.0, now 2.7.1) and 2 more.")


def test_the_report_says_so(
    make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cl_runner.report.build.draw_sections", lambda _: [])
    runs = [write_run(tmp_path / str(seed), 0.6, seed) for seed in range(4)]
    for seed, run in enumerate(runs):
        settings = asdict(make_config("benchmark.tasks=2", "benchmark.validation=null", f"seed={seed}"))
        (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump(settings))
    # As runs wrote it before they had records of their own.
    for run, torch in zip(runs[:3], ("2.6.0", "2.7.1", "2.7.1"), strict=True):
        (run / "run.json").write_text(json.dumps(session(torch)))
    (runs[3] / "run.json").write_text('{"versions": "2.6.0"}')
    assert {len(found) for found in recorded_sessions([str(run) for run in runs[:3]]).values()} == {1}
    said = (
        "Several versions of torch trained these runs: 1 run by 2.6.0, 2 runs by 2.7.1, 1 run by one that is unknown."
    )
    assert main([str(tmp_path)]) == 0
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "report" / "report.html").read_text()
    # It is of the runs that are judged.
    assert main([str(tmp_path), "--where", "seed=1,2"]) == 0
    assert "Several" not in capsys.readouterr().out
