"""Which runs are the same, and how those that are told as one read."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from conftest import MakeConfig
from fake_runs import write_run

from cl_runner.report.cli import main
from cl_runner.report.collect import collect
from cl_runner.report.comparison import compare
from cl_runner.report.gallery import draw_sections
from cl_runner.report.settings import distinguishing
from cl_runner.report.summary import Summary, summarise
from cl_runner.report.words import in_common, pooled_over, repeats_in_words

Write = Callable[..., Path]


@pytest.fixture
def write(make_config: MakeConfig, tmp_path: Path) -> Write:
    """Writes a finished run with all the settings that it would have, under the name of its overrides."""

    def written(accuracy: float, *overrides: str, folder: str = "runs") -> Path:
        config = make_config("benchmark.tasks=2", "benchmark.validation=null", *overrides)
        directory = write_run(tmp_path / folder / " ".join(overrides), accuracy, config.seed)
        (directory / ".hydra" / "config.yaml").write_text(yaml.safe_dump(asdict(config)))
        return directory

    return written


@pytest.fixture
def first_sweep(write: Write, tmp_path: Path) -> Path:
    """A small version of README's first sweep."""
    for freeze in (0.5, 0.9):
        for seed in range(3):
            write(0.6 + 0.01 * seed, "method=ewc", f"freeze={freeze}", f"seed={seed}")
            write(0.7 - 0.1 * freeze + 0.02 * seed, "method=global_mask", f"freeze={freeze}", f"seed={seed}")
            write(0.5 + 0.1 * freeze - 0.01 * seed, "method=layerwise_mask", f"freeze={freeze}", f"seed={seed}")
    return tmp_path / "runs"


def summary_of(folder: Path) -> Summary:
    found = collect([folder])
    return summarise(found.table, distinguishing(found.table, found.settings)[0], "average_accuracy")


def test_a_setting_that_a_method_does_not_use_makes_no_rows(first_sweep: Path) -> None:
    found = collect([first_sweep])
    assert found.left_out == []
    summary = summary_of(first_sweep)
    assert summary.keys == ["method", "freeze"]
    rows = summary.table.sort_values(["method", "freeze"])
    assert [f"{row['method']} {row['freeze']} {row['seeds']} {row['runs']}" for _, row in rows.iterrows()] == [
        "ewc nan 3 3",
        "global_mask 0.5 3 3",
        "global_mask 0.9 3 3",
        "layerwise_mask 0.5 3 3",
        "layerwise_mask 0.9 3 3",
    ]
    assert "ewc" in summary.labels().tolist()
    assert repeats_in_words(found.repeats) == [
        "3 runs differ from another only in freeze, which does nothing in them (method=ewc has no mask "
        "(method.mask=none)): the same run counts once."
    ]


def test_the_same_run_with_other_numbers_is_told(write: Write, tmp_path: Path) -> None:
    write(0.6, "method=ewc", "freeze=0.5")
    other = write(0.7, "method=ewc", "freeze=0.9")
    (line,) = repeats_in_words(collect([tmp_path]).repeats)
    assert line.startswith("1 run differs from another only in freeze, which does nothing in it (")
    assert line.endswith(f": the same run counts once. Of it 1 came out with other numbers: {other}.")


def test_what_does_nothing_hides_no_difference(write: Write, tmp_path: Path) -> None:
    write(0.6, "method=online_ewc", "method.update=sum", "method.gamma=0.9")
    write(0.7, "method=online_ewc", "method.update=sum", "method.gamma=0.5", "method.alpha=0.1")
    write(0.7, "method=online_ewc", "method.update=average", "method.gamma=0.5")
    write(0.7, "method=online_ewc", "method.update=average", "method.gamma=0.9")
    found = collect([tmp_path])
    assert len(found.table) == 3
    keys, _ = distinguishing(found.table, found.settings)
    # Alpha has one value where it acts, and nothing to tell.
    assert sorted(keys) == ["method.gamma", "method.update"]


def test_why_a_setting_acts_is_told_and_not_that_it_does(write: Write, tmp_path: Path) -> None:
    write(0.6, "method=finetune")
    write(0.7, "method=finetune", "train.optimizer=sgd", "train.momentum=0.9")
    write(0.7, "method=global_mask", "freeze=0")
    write(0.8, "method=global_mask", "freeze=0.5")
    found = collect([tmp_path])
    keys, follows = distinguishing(found.table, found.settings)
    assert sorted(keys) == ["freeze", "method", "train.optimizer"]
    assert sorted(pooled_over(found.table, found.settings, [], follows)) == sorted(keys)
    fixed = in_common(found.table, found.settings)
    assert fixed["train.learning_rate"] == "0.001"
    # They do nothing in any run.
    assert not {"method.gamma", "method.update"} & set(fixed)


def test_a_run_from_before_there_was_a_setting_had_what_was_then(write: Write, tmp_path: Path) -> None:
    problem = ["benchmark=split_digits", "benchmark.scenario=class"]
    for name, value in (("old", None), ("new", "counted"), ("other", "free")):
        given = [f"method.unused={value}"] if value else []
        run = write(0.6, *problem, "method=layerwise_mask", *given, folder=name)
        config = yaml.safe_load((run / ".hydra" / "config.yaml").read_text())
        if value is None:
            del config["method"]["unused"]
        (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    found = collect([tmp_path / "old", tmp_path / "new", tmp_path / "other"])
    assert found.table["method.unused"].tolist() == ["counted", "free"]
    assert [item.state for item in found.left_out] == ["duplicate"]


def test_what_acts_on_one_side_only_belongs_to_what_is_compared(write: Write, tmp_path: Path) -> None:
    for seed in range(2):
        write(0.6, "train.optimizer=adam", f"seed={seed}")
        write(0.5, "train.optimizer=sgd", "train.momentum=0.9", f"seed={seed}")
    found = collect([tmp_path])
    compared = compare(found.table, found.settings, "train.optimizer=adam", "train.optimizer=sgd")
    assert compared.table["difference"][0] == pytest.approx(0.1)
    assert compared.table["pairs"][0] == 2


def test_a_setting_that_does_nothing_in_a_table_and_a_figure(
    first_sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (section,) = draw_sections(summary_of(first_sweep))
    sweep = next(drawing for drawing in section.drawings if drawing.name == "sweep_freeze")
    # A line for numbers, and not a place of its own for each word.
    assert ">0.5<" in sweep.svg
    assert "null" not in sweep.svg
    assert ">ewc<" in sweep.svg
    assert "Where freeze does nothing, a setting is a level line and its interval a band." in sweep.caption
    monkeypatch.setattr("cl_runner.report.build.draw_sections", lambda _: [])
    assert main([str(first_sweep)]) == 0
    output = capsys.readouterr().out
    assert "│ ewc            │ null   │     3 │" in output
    assert "3 runs differ from another only in freeze" in output
    assert "not in any number" not in output
    html = (first_sweep / "report" / "report.html").read_text()
    assert '<td data-sort=""> <span class="note">null</span></td>' in html
    assert "3 runs differ from another only in freeze" in html


@pytest.fixture
def two_folders(write: Write, tmp_path: Path) -> tuple[str, str]:
    """The same settings in both, seeds 0 to 2 and 1 to 3, the second better by 0.1."""
    for name, gain, seeds in (("a", 0.0, range(3)), ("b", 0.1, range(1, 4))):
        for seed in seeds:
            write(0.6 + 0.02 * seed + gain, "method=ewc", f"seed={seed}", folder=name)
            write(0.5 + 0.01 * seed + gain, "method=global_mask", "freeze=0.5", f"seed={seed}", folder=name)
    return str(tmp_path / "a"), str(tmp_path / "b")


@pytest.mark.usefixtures("no_figures")
def test_folders_are_compared_run_by_run(two_folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = two_folders
    # As one writes it, with or without a slash at the end.
    assert main([first, f"{second}/", "--compare", f"folder={second}/", f"folder={first}"]) == 0
    output = capsys.readouterr().out
    assert "average_accuracy     +10.0 [+10.0, +10.0]" in output
    assert "4 pairs over 2 seeds, which agree in seed, method." in output
    assert "2 runs of folder=" in output
    assert "duplicate" not in output


@pytest.mark.usefixtures("no_figures")
def test_without_that_the_same_runs_of_two_folders_count_once(
    two_folders: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*two_folders]) == 0
    output = capsys.readouterr().out
    assert "not in any number: 4 duplicate" in output
    assert ", but other numbers" in output
    assert "folder" not in output.replace(str(two_folders), "")


@pytest.mark.usefixtures("no_figures")
def test_a_folder_is_a_setting_wherever_it_is_named(
    two_folders: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*two_folders, "--group-by", "folder", "--format", "csv"]) == 0
    printed = capsys.readouterr()
    assert [row.split(",")[:3] for row in printed.out.splitlines()[1:]] == [
        [two_folders[1], "3", "6"],
        [two_folders[0], "3", "6"],
    ]
    assert main([*two_folders, "--where", f"folder={two_folders[1]}", "--format", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert (
        main(
            [*two_folders, "--compare", f"folder='{two_folders[1]}' method=ewc", f"folder={two_folders[0]} method=ewc"]
        )
        == 0
    )
    assert "2 pairs over 2 seeds" in capsys.readouterr().out
    assert main([*two_folders, "--compare", "folder=elsewhere", f"folder={two_folders[0]}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --compare folder=elsewhere: no finished run has it, allowed: folder= one of /")
    assert main([*two_folders, "--compare", "folder='a", f"folder={two_folders[0]}"]) == 2
    assert capsys.readouterr().err == "error: --compare folder='a: No closing quotation\n"


def test_a_run_lies_in_the_innermost_of_the_folders(two_folders: tuple[str, str]) -> None:
    outer, inner = Path(two_folders[0]).parent, Path(two_folders[0])
    found = collect([outer, inner], by_folder=True).table
    assert found["folder"].value_counts().to_dict() == {str(outer): 6, str(inner): 6}


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_runner.report.build.draw_sections", lambda _: [])
