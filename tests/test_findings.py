"""The claims of scripts/findings/: each on a tiny version of its sweeps, and what they share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_runs import write_regression_run
from findings.claims import Claim, all_claims
from findings.page import _MARKS, Chapter, Finding, with_advice
from findings.results import add_cost, average_score, command, cost, jobs, learning_score, load, missing, table
from findings.statistics import by_seed, curve, estimate, mean_share, paired_difference
from matplotlib.figure import Figure
from reproduce import incomplete, selected, write
from test_cli import Runner, cl_run
from test_grids import PRESET, write_preset

from cl_runner.config.presets import config_dir
from cl_runner.results.run import load_run

__all__ = ["cl_run"]

# The one that shows how to choose is no claim.
PRESETS = sorted(path for path in config_dir().glob("experiment/*.yaml") if path.stem != "choosing")
# What compares seeds is tested on results made by hand, claim by claim.
TINY = {
    "seed": "0",
    "benchmark.tasks": "3",
    "benchmark.train_samples": "200",
    "model.hidden": "[10]",
    "train.epochs": "1",
    "fisher.samples": "20",
    "train.first_epochs": "1",
    "benchmark.test_samples": "100",
    "hydra.launcher.workers": "1",
}


def test_every_preset_belongs_to_a_claim() -> None:
    claims = all_claims()
    assert {preset for claim in claims for preset in claim.PRESETS} == {path.stem for path in PRESETS}
    assert all(set(claim.QUICK) == set(claim.PRESETS) for claim in claims)
    assert [claim.NUMBER for claim in selected(claims, [PRESETS[0].stem])] == [
        claim.NUMBER for claim in claims if PRESETS[0].stem in claim.PRESETS
    ]
    assert selected(claims, []) == claims


def tiny(preset: str, claim: Claim) -> list[str]:
    """Overrides that make the preset tiny, but for the settings that it sweeps over."""
    sweeper = yaml.safe_load((config_dir() / "experiment" / f"{preset}.yaml").read_text())["hydra"]["sweeper"]
    swept = {key for grid in sweeper.get("grids", {}).values() for key in grid} | set(sweeper.get("params", {})) - {
        "seed"
    }
    return [*claim.QUICK[preset], *(f"{key}={value}" for key, value in TINY.items() if key not in swept)]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweeps of all presets; two claims have theirs in common."""
    return tmp_path_factory.mktemp("outputs")


@pytest.mark.parametrize("claim", all_claims(), ids=lambda claim: f"claim_{claim.NUMBER}")
def test_a_claim_is_judged_by_its_sweeps(
    claim: Claim, cl_run: Runner, outputs: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for preset in claim.PRESETS:
        overrides = tiny(preset, claim)
        if "mnist" in (config_dir() / "experiment" / f"{preset}.yaml").read_text():
            overrides.append(f"data_dir={request.getfixturevalue('mnist_dir')}")
        if not (outputs / preset).exists():
            assert cl_run("-m", f"experiment={preset}", *overrides, f"hydra.sweep.dir={outputs / preset}")[0] == 0
    write([claim], outputs, tmp_path / "docs")
    page = (tmp_path / "docs" / "findings.md").read_text()
    assert "Not shown" not in page
    assert page.count("\n## ") == page.count("](findings/") == page.count("\nClaim: ") >= 1
    for preset in claim.PRESETS:
        assert f"    uv run cl-run -m experiment={preset} " in page
    drawn = {path.stem for path in (tmp_path / "docs" / "findings").glob("*.png")}
    assert drawn == {path.stem for path in (tmp_path / "docs" / "findings").glob("*.csv")}
    assert all(f"findings/{name}.png" in page for name in drawn)


@pytest.fixture
def swept(cl_run: Runner, tmp_path: Path) -> Path:
    """A complete sweep of six runs: two strengths of EWC and a mask, of two seeds."""
    write_preset(tmp_path)
    assert cl_run("-m", *PRESET, "hydra.sweep.dir=both", "hydra.launcher.workers=1")[0] == 0
    return tmp_path / "both"


class Unfounded:
    """A claim on that sweep, of which nothing can be found."""

    NUMBER = 3
    PRESETS: Sequence[str] = ("both", "none")
    QUICK: Mapping[str, Sequence[str]] = MappingProxyType({})

    def finding(self, results: Mapping[str, pd.DataFrame]) -> Sequence[Finding]:
        raise AssertionError(results)


def test_results_are_those_of_the_runs(swept: Path) -> None:
    scores = load(swept)
    assert list(dict.fromkeys(scores["setting"])) == ["ewc, ewc_lambda=3", "ewc, ewc_lambda=30", "global_mask"]
    ends, learned = average_score(scores).set_index("directory"), learning_score(scores)
    assert len(ends) == 6
    after_first = average_score(scores, after_task=1).set_index("directory")["score"]
    layers = table(scores, "layers.csv")
    for directory in jobs(swept):
        run = load_run(directory)
        assert ends.loc[str(directory), "seed"] == run.config.seed
        # EWC has no mask.
        freeze = run.config.freeze if run.config.method.mask != "none" else np.nan
        np.testing.assert_equal(ends["freeze"][str(directory)], freeze)
        assert ends.loc[str(directory), "score"] == pytest.approx(run.metrics["average_accuracy"])
        own = learned[learned["directory"] == str(directory)]
        assert own["score"].mean() == pytest.approx(run.metrics["learning_accuracy"])
        assert own["task"].tolist() == [1, 2]
        assert after_first[str(directory)] == pytest.approx(run.matrix[1, 0])
        found = layers[layers["directory"] == str(directory)]
        assert found["layer"].tolist() == [row["layer"] for row in run.table("layers.csv")]


def test_regression_has_another_table(tmp_path: Path) -> None:
    run = write_regression_run(tmp_path / "0", 0.3)
    (tmp_path / "multirun.yaml").write_text("hydra: {overrides: {task: [seed=0]}, sweeper: {params: {}, grids: {}}}\n")
    scores = load(tmp_path)
    assert scores["directory"].unique().tolist() == [str(run)]
    assert scores["score"].tolist() == pytest.approx([1, 1, 0.01, 1, 0.59, 0.01])


def test_an_incomplete_sweep_is_never_shown_as_complete(swept: Path, cl_run: Runner) -> None:
    place = swept.parent
    assert missing(swept) == {}
    (swept / "1" / "metrics.json").unlink()
    (swept / "5").rename(place / "elsewhere")
    assert missing(swept) == {
        swept / "1": "seed=0 method.ewc_lambda=30 method=ewc",
        swept / "5": "seed=1 method=global_mask freeze=0.25",
    }
    claim = Unfounded()
    lacks = "`both` lacks 2 of 6 runs: " + ", ".join(f"{path.name} ({name})" for path, name in missing(swept).items())
    assert incomplete(claim, place) == [lacks, "`none` was not run"]
    write([claim], place, place / "docs")
    assert f"- claim 3: {lacks}; `none` was not run" in (place / "docs" / "findings.md").read_text()
    # Asked for fewer runs, it lacks none of them, and shows no others.
    assert cl_run("-m", *PRESET, "seed=0", "hydra.sweep.dir=both", "hydra.launcher.workers=1")[0] == 0
    assert missing(swept) == {}
    assert load(swept)["directory"].nunique() == 3


def test_the_command_and_the_cost_of_a_sweep(swept: Path) -> None:
    assert command(swept).startswith("uv run cl-run -m experiment=both benchmark.tasks=2 ")
    assert cost(swept) is None
    add_cost(swept, 2.5)
    add_cost(swept, 1.5)
    known = cost(swept)
    assert known
    assert known.seconds == 4
    assert known.cores >= 1


def test_estimates_are_means_over_seeds() -> None:
    values = pd.Series(np.random.default_rng(0).normal(0.7, 0.1, size=400))
    found = estimate(values)
    # Of many values Student's t is the normal distribution.
    half = 1.96 * values.std() / 20
    np.testing.assert_allclose([found.mean, found.n], [values.mean(), 400])
    np.testing.assert_allclose([found.low, found.high], [values.mean() - half, values.mean() + half], atol=0.001)
    assert np.isnan(estimate(values[:1]).low)
    assert estimate(pd.Series([0.5, 0.5])).percent() == "50.0 [50.0, 50.0]"
    # No share is above 1.
    assert mean_share(pd.Series([0.98, 1.0])).percent() == "99.0 [86.3, 100.0]"


@pytest.mark.parametrize(("seeds", "clear"), [(2, False), (4, False), (5, True)])
def test_few_seeds_make_nothing_clear(seeds: int, clear: bool) -> None:
    gain = estimate(pd.Series([0.5, 0.5, 0.51, 0.5, 0.5][:seeds]))
    assert (gain.low > 0.4, gain.high < 0.6) == (True, True)
    assert (gain.above(0.4), gain.below(0.6), gain.above(0.6), gain.below(0.4)) == (clear, clear, False, False)


def test_differences_are_paired_by_seed() -> None:
    rows = pd.DataFrame({"seed": [0, 0, 1, 2], "score": [0.2, 0.4, 0.6, 0.9]})
    first = by_seed(rows)
    assert first.tolist() == pytest.approx([0.3, 0.6, 0.9])
    # A constant difference has no spread, however much seeds differ; seed 7 has no partner.
    found = paired_difference(first, pd.Series({2: 0.8, 1: 0.5, 7: 0.1}))
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((0.1, 0.1, 0.1, 2))
    assert found.points() == "+10.0 [+10.0, +10.0]"


def test_curves_are_estimates_along_a_column() -> None:
    rows = pd.DataFrame({"task": [1, 1, 2, 2], "seed": [0, 1, 0, 1], "score": [0.1, 0.3, 0.5, 0.5]})
    found = curve(rows, "task")
    assert found["mean"].tolist() == pytest.approx([0.2, 0.5])
    half = 12.706 * 0.1
    np.testing.assert_allclose(found[["low", "high"]], [[0.2 - half, 0.2 + half], [0.5, 0.5]], atol=1e-4)
    assert curve(rows, "task", least=0, most=1)[["low", "high"]].to_numpy()[0].tolist() == [0, 1]


def test_advice_goes_between_the_marks_of_the_readme() -> None:
    plain = Finding("a", "A?", "A.", "confirmed", "so", "more", Figure(), pd.DataFrame({"n": [1]}))
    chapters = [
        Chapter(1, [plain, replace(plain, advice="Do a.")], [], ""),
        Chapter(2, [replace(plain, advice="No b.")], [], ""),
    ]
    before, after = f"first\n{_MARKS[0]}\n", f"{_MARKS[1]}\nlast\n"
    assert with_advice(f"{before}old text\n{after}", chapters) == f"{before}No b. Do a.\n{after}"
    with pytest.raises(ValueError, match="marks"):
        with_advice("no marks", chapters)
