import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from fake_runs import write_run
from matplotlib.axes import Axes

from cl_runner.report.collect import collect
from cl_runner.report.drawing import log_spaced, looks, with_intervals
from cl_runner.report.figures import chosen, draw_ranking
from cl_runner.report.gallery import Section, draw_sections, score_matrix, significance_histograms
from cl_runner.report.settings import distinguishing
from cl_runner.report.summary import Summary, summarise
from cl_runner.report.sweeps import draw_sweep


def summary_of(folder: Path) -> Summary:
    found = collect([folder])
    return summarise(found.table, distinguishing(found.table, found.settings)[0], "average_accuracy")


def texts(svg: str) -> list[str]:
    return [
        "".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")
    ]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    folder = tmp_path_factory.mktemp("sweep")
    for number, (method, value) in enumerate((m, v) for m in ("ewc", "global_mask") for v in (0.1, 1.0, 10.0)):
        for seed in range(2):
            accuracy = 0.5 + 0.05 * number + 0.01 * seed
            write_run(folder / f"{number}{seed}", accuracy, seed, method, method__ewc_lambda=value)
    write_run(folder / "finetune", 0.4, 0, "finetune")
    return summary_of(folder)


@pytest.fixture(scope="module")
def section(sweep: Summary) -> Section:
    (found,) = draw_sections(sweep)
    return found


def test_there_is_a_figure_of_each_kind_and_of_each_swept_setting(section: Section) -> None:
    assert section.notes == []
    assert [drawing.name for drawing in section.drawings] == [
        "ranking",
        "sweep_method.ewc_lambda",
        "learned_remembered",
        "accuracy_over_tasks",
        "accuracy_matrices",
        "significance",
    ]
    for drawing in section.drawings:
        assert drawing.png.startswith(b"\x89PNG")
        assert "currentColor" in drawing.svg
        assert "#010203" not in drawing.svg
        assert any(text.startswith(drawing.title) for text in texts(drawing.svg))
    ids = [found for drawing in section.drawings for found in re.findall(r'\bid="([^"]*)"', drawing.svg)]
    assert len(ids) == len(set(ids))
    for drawing in section.drawings:
        targets = re.findall(r'(?:href="|url\()#([^")]*)', drawing.svg)
        assert set(targets) <= set(ids)


def test_a_sweep_over_decades_has_its_values_as_ticks(section: Section) -> None:
    drawing = section.drawings[1]
    assert {"0.1", "1", "10", "method.ewc_lambda", "ewc", "global_mask"} <= set(texts(drawing.svg))
    assert any("1 to 2 seeds each" in text for text in texts(drawing.svg))


def test_figures_are_the_same_each_time(sweep: Summary, section: Section) -> None:
    assert draw_ranking(sweep).svg == section.drawings[0].svg


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 10, 100], True),
        ([0, 1, 10, 100], True),
        ([0.001, 0.003, 0.01, 0.03], True),
        ([0.5, 0.7, 0.9], False),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], False),
        ([-1, 10, 100], False),
        ([5], False),
        ([0], False),
    ],
)
def test_log_spaced(values: list[float], expected: bool) -> None:
    assert log_spaced(values) is expected


def test_a_method_keeps_its_colour() -> None:
    known = ["ewc", "finetune", "mask"]
    first, second, third = looks(["mask", "ewc", "mask"], known)
    assert first.colour == third.colour == looks(["finetune", "mask"], known)[1].colour
    assert (first.line, first.marker) != (third.line, third.marker)
    assert second.colour != first.colour


def test_each_methods_best_is_chosen_first(sweep: Summary) -> None:
    methods = sweep.table["method"].tolist()
    assert methods == ["global_mask"] * 3 + ["ewc"] * 3 + ["finetune"]
    assert chosen(sweep, 3) == [0, 3, 6]
    assert chosen(sweep, 5) == [0, 1, 2, 3, 6]


def test_what_a_run_lacks_is_noted(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path / str(seed), 0.5, seed)
    (tmp_path / "0" / "significance_histograms.csv").unlink()
    (tmp_path / "1" / "significance_histograms.csv").write_text("task,layer,low,count\n1,a,b,c\n")
    summary = summary_of(tmp_path)
    (tmp_path / "0" / "accuracy.csv").write_text("after_task,eval_task,accuracy,loss,samples\n")
    (section,) = draw_sections(summary)
    assert [drawing.name for drawing in section.drawings][-1] == "accuracy_matrices"
    matrix, histograms = section.notes
    assert matrix.startswith(f"accuracy.csv is missing or damaged in {tmp_path / '0'}:")
    assert histograms.startswith(f"significance_histograms.csv is missing or damaged in {tmp_path / '0'} and 1 more:")
    assert matrix.endswith("(accuracy.csv: it has not a line for each task after each number of tasks).")


def test_tables_of_a_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", 0.6)
    np.testing.assert_allclose(score_matrix(run), [[0.9, 0.1], [0.4, 0.8]])
    histograms = significance_histograms(run)
    assert histograms["count"].sum() == 4 * (10 + 11 + 12 + 13)


def test_of_many_settings_the_best_are_drawn(tmp_path: Path) -> None:
    for number in range(32):
        method = ("layerwise_mask", "global_mask")[number % 2]
        freeze, strength = 0.1 * (number // 2 % 4), 10.0 ** (number // 8)
        run = tmp_path / str(number)
        write_run(run, 0.5 + number / 100, method=method, freeze=freeze, method__ewc_lambda=strength)
    summary = summary_of(tmp_path)
    assert "The best 25 of 32 settings." in draw_ranking(summary).caption
    sweep = draw_sweep(summary, "freeze")
    assert {"layerwise_mask", "global_mask", "ewc_lambda=1", "ewc_lambda=1000"} <= set(texts(sweep.svg))
    assert "run with one" not in sweep.caption


def test_settings_that_were_not_swept_are_left_out_of_a_full_figure(tmp_path: Path) -> None:
    for number in range(14):
        freeze, strength = 0.5 + 0.1 * (number % 2), float(number // 2 + 1)
        write_run(tmp_path / f"a{number}", 0.5, method="global_mask", freeze=freeze, method__ewc_lambda=strength)
    write_run(tmp_path / "b", 0.7, method="finetune", method__ewc_lambda=99.0)
    sweep = draw_sweep(summary_of(tmp_path), "freeze")
    assert "Of settings run with one freeze only, at most each method's best is shown." in sweep.caption
    assert "finetune" not in set(texts(sweep.svg))


def test_a_single_run(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.5)
    (section,) = draw_sections(summary_of(tmp_path))
    assert "1. ewc" in texts(section.drawings[0].svg)


def test_one_task_has_nothing_to_forget(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.9, benchmark__tasks=1)
    (section,) = draw_sections(summary_of(tmp_path))
    names = [drawing.name for drawing in section.drawings]
    assert names == ["ranking", "accuracy_over_tasks", "accuracy_matrices", "significance"]


def test_figures_have_the_tables_intervals_also_of_pooled_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, accuracy in enumerate([0.5, 0.6, 0.8]):
        for rate in (1, 2):
            write_run(tmp_path / f"{rate}{seed}", accuracy + 0.05 * rate, seed, train__learning_rate=rate)
    part = summarise(collect([tmp_path]).table, ["method"], "average_accuracy")
    drawn = []

    def spy(axes: Axes, x: Any, mean: Any, ends: Any, *others: Any) -> None:
        drawn.append([mean[-1], ends[0][-1], ends[1][-1]])
        with_intervals(axes, x, mean, ends, *others)

    monkeypatch.setattr("cl_runner.report.figures.with_intervals", spy)
    (section,) = draw_sections(part)
    names = [f"average_accuracy{end}" for end in ("", "_low", "_high")]
    assert drawn == [pytest.approx(100 * part.table[names].to_numpy(dtype=float)[0])]
    ranking, over_tasks, matrices = (
        next(drawing.svg for drawing in section.drawings if drawing.name == name)
        for name in ("ranking", "accuracy_over_tasks", "accuracy_matrices")
    )
    assert "over 3 seeds each" in " ".join(texts(ranking))
    assert "over 3 seeds each" in " ".join(texts(over_tasks))
    assert "3\u00a0seeds" in matrices
