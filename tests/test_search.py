"""`hydra/sweeper=search`, seen from outside."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from test_cli import Runner, cl_run
from test_launching import contents

from cl_runner.results import files
from cl_runner.results.files import dropped_after, is_complete
from cl_runner.results.run import load_run
from cl_runner.sweeps.search.record import Record, read, write
from cl_runner.sweeps.search.space import Dimension, overrides, parsed
from cl_runner.sweeps.search.study import Searcher

pytest.importorskip("optuna")

__all__ = ["cl_run"]

TINY = ["benchmark.train_samples=300", "train.epochs=3", "train.learning_rate=0.01", "model.hidden=[8]"]
SPACE = 'hydra.sweeper.space={method.ewc_lambda: "log(1, 1e6)", method.penalty: "choice(ewc, l2)"}'
# One worker computes in this process, where a test can reach in.
SEARCH = [
    "-m",
    "hydra/sweeper=search",
    "hydra.launcher.workers=1",
    "hydra.sweep.dir=sweep",
    "save=all",
    "method=ewc",
    "benchmark.tasks=3",
    "hydra.sweeper.trials=8",
    "hydra.sweeper.batch=4",
    "hydra.sweeper.fresh_seeds=3",
    *TINY,
]
SETTINGS: dict[str, Any] = {
    "sampler": "tpe",
    "sampler_arguments": {},
    "pruner": "successive_halving",
    "pruner_arguments": {},
    "seed": 0,
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a search that nothing disturbed."""
    folder = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["cl-run", *SEARCH, SPACE])
        from cl_runner.cli.main import main

        assert main() == 0
    return folder / "sweep"


def recorded(sweep: Path) -> Record:
    found = read(sweep)
    assert found
    return found


def test_runs_are_those_that_are_trained_without_a_search(done: Path, cl_run: Runner, tmp_path: Path) -> None:
    """Trained task by task, beside others that are dropped, they have the bits of a run on its own."""
    record = recorded(done)
    best = record.best
    assert best
    assert set(best.directories) == {0, 1}
    for seed, name in best.directories.items():
        settings = overrides(best.values, [entry for entry in SEARCH[4:] if "hydra" not in entry], seed)
        assert cl_run(*settings, f"hydra.run.dir={seed}", "plots=none")[0] == 0
        alone, own = contents(tmp_path / str(seed)), contents(done / name)
        same = [path for path in alone if path.suffix in (".csv", ".safetensors") or path.name == "metrics.json"]
        assert len(same) > 15
        assert {path: own[path] for path in same if path.name != "training.csv"} == {
            path: alone[path] for path in same if path.name != "training.csv"
        }
        # Tables have seven digits.
        assert best.by_seed[seed] == pytest.approx(load_run(done / name).metrics["validation"]["average_accuracy"])
    assert best.value == pytest.approx(np.mean(list(best.by_seed.values())))


def test_the_worst_are_dropped_as_successive_halving_has_it(done: Path) -> None:
    """By the rule as it is published (Li et al. 2020, ASHA): after 2, 4, ... tasks the better half of those so far."""
    trials = recorded(done).trials
    assert [trial.number for trial in trials] == list(range(8))
    seen: list[float] = []
    for trial in trials:
        seen.append(trial.scores[2])
        stays = trial.scores[2] >= sorted(seen, reverse=True)[max(1, len(seen) // 2) - 1]
        assert (max(trial.scores) >= 3) == stays
    assert {trial.state for trial in trials} == {"complete", "dropped"}
    for trial in trials:
        run, last = done / trial.directories[0], min(3, max(trial.scores))
        assert is_complete(run) == (trial.state == "complete") == (last == 3)
        assert dropped_after(run) == (last if trial.state == "dropped" else None)
        # A dropped one was trained no further, and on no further seed.
        assert len(trial.directories) == (2 if trial.state == "complete" else 1)
        table = np.genfromtxt(run / "accuracy.csv", delimiter=",", names=True)
        assert table["after_task"].max() == last
        for task, score in list(trial.scores.items())[:3]:
            so_far = (table["after_task"] == task) & (table["eval_task"] <= task)
            assert score == pytest.approx(table["validation_accuracy"][so_far].mean(), abs=1e-7)


def test_the_best_is_judged_on_seeds_that_no_trial_has_seen(done: Path) -> None:
    record = recorded(done)
    result, best = record.result, record.best
    assert result
    assert best
    assert (result["trial"], result["values"]) == (best.number, best.values)
    scores: dict[str, dict[int, float]] = {"best": {}, "default": {}}
    for folder in (file.parent for file in done.glob("*/metrics.json")):
        run = load_run(folder)
        if run.config.seed in (2, 3, 4):
            side = "default" if run.config.method.ewc_lambda == 10 else "best"
            scores[side][run.config.seed] = run.metrics["average_accuracy"]
            assert run.config.method.ewc_lambda == (best.values["method.ewc_lambda"] if side == "best" else 10)
    both = {side: np.array([found[seed] for seed in (2, 3, 4)]) for side, found in scores.items()}
    both["difference"] = both["best"] - both["default"]
    for side, values in both.items():
        assert list(result[side]["by_seed"].values()) == pytest.approx(values)
        interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        low = max(interval.low, 0) if side != "difference" else interval.low
        assert (result[side]["mean"], result[side]["low"]) == pytest.approx((values.mean(), low))
        assert result[side]["high"] == pytest.approx(interval.high)


def test_started_again_it_says_the_same_and_trains_nothing(
    done: Path, cl_run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, result = contents(done), recorded(done).result
    assert result
    monkeypatch.chdir(done.parent)
    code, output, error = cl_run(*SEARCH, SPACE)
    assert code == 0
    assert output.startswith(f"the best of 8 trials is trial {result['trial']}: method.ewc_lambda=")
    assert "average accuracy in % on the test set, of 3 fresh seeds, with 95 % intervals:\n  best " in output
    assert f"  difference  {100 * result['difference']['mean']:.1f}  [" in output
    assert "goes on: 8 of 8 trials are told" in error
    assert contents(done) == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("hydra.sweeper.seeds=3", "hydra.sweeper.seeds: got 3, but sweep holds a search with 2, allowed: the same"),
        ("hydra.sweeper.sampler=random", "hydra.sweeper.sampler: got random, but sweep holds a search with tpe"),
        ("train.epochs=4", "train.epochs: got 4, but sweep holds a search with 3, allowed: the same settings, or ano"),
        ("hydra.sweeper.trials=7", "hydra.sweeper.trials: got 7, but sweep holds a search with 8, allowed: as many"),
        ("hydra.sweeper.space.freeze='uniform(0,1)'", "hydra.sweeper.space: got {'method.ewc_lambda': 'log(1, 1e6)', "),
    ],
)
def test_with_other_settings_it_is_another_search(
    changed: str, message: str, done: Path, cl_run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(done)
    monkeypatch.chdir(done.parent)
    code, output, error = cl_run(*SEARCH, SPACE, changed)
    assert (code, output) == (2, "")
    assert message in error
    assert contents(done) == before


class Killed(BaseException):
    """Nobody catches it."""


def test_killed_ten_times_it_ends_as_undisturbed(
    done: Path, cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At ten moments before, or after, something is written, of those that each start has."""
    write, moments = files._write_all, random.Random(5)
    left = 0

    def killing(*arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0 and moments.random() < 0.5:
            raise Killed
        write(*arguments)
        if left == 0:
            raise Killed

    monkeypatch.setattr(files, "_write_all", killing)
    kills = 0
    while kills < 10:
        left = moments.randint(1, 40)
        try:
            assert cl_run(*SEARCH, SPACE)[0] == 0
            break
        except Killed:
            kills += 1
    monkeypatch.setattr(files, "_write_all", write)
    assert kills == 10
    assert cl_run(*SEARCH, SPACE)[0] == 0
    assert_same(done, tmp_path / "sweep")


def assert_same(one: Path, two: Path) -> None:
    """All that two searches asked, were told, and trained."""
    assert (one / "search.json").read_bytes() == (two / "search.json").read_bytes()
    found = [
        {
            path: data
            for path, data in contents(sweep).items()
            if path.name in ("accuracy.csv", "metrics.json", "dropped.json")
        }
        for sweep in (one, two)
    ]
    assert found[0] == found[1]


def test_a_killed_process_goes_on(done: Path, tmp_path: Path) -> None:
    """All processes of a search by two workers end at once, kill -9, in the midst of its second batch."""
    two = [entry.replace("workers=1", "workers=2") for entry in SEARCH]
    command = [sys.executable, "-m", "cl_runner", *two, SPACE]

    def start() -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, cwd=tmp_path, stdout=quiet, stderr=quiet, start_new_session=True)

    process, until = start(), time.monotonic() + 120
    sweep = tmp_path / "sweep"
    while time.monotonic() < until and not list(sweep.glob("9/accuracy.csv")):
        time.sleep(0.02)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert recorded(sweep).asked
    assert start().wait(timeout=120) == 0
    assert_same(done, sweep)


def test_more_trials_later(done: Path, cl_run: Runner, tmp_path: Path) -> None:
    fewer = [entry.replace("trials=8", "trials=4") for entry in SEARCH]
    assert cl_run(*fewer, SPACE)[0] == 0
    first = recorded(tmp_path / "sweep")
    assert first.trials == recorded(done).trials[:4]
    assert cl_run(*SEARCH, SPACE, "hydra.sweeper.fresh_seeds=4")[0] == 0
    found = recorded(tmp_path / "sweep")
    assert [trial.values for trial in found.trials] == [trial.values for trial in recorded(done).trials]
    assert [trial.value for trial in found.trials] == [trial.value for trial in recorded(done).trials]
    assert found.result
    assert list(found.result["best"]["by_seed"]) == ["2", "3", "4", "5"]


def test_a_trial_that_fails_is_told_so(cl_run: Runner, tmp_path: Path) -> None:
    """One diverges in the second task, others cannot be composed; what both seeds of a trial gave counts."""
    space = 'hydra.sweeper.space={method.ewc_lambda: "choice(1, 1e30)", train.momentum: "choice(0.0, 0.9)"}'
    diverging = ["train.optimizer=sgd", "train.learning_rate=0.1", "hydra.sweeper.pruner=none"]
    code, output, _ = cl_run(*SEARCH, space, *diverging, "hydra.sweeper.sampler=random")
    assert code == 0
    assert "the best of 8 trials" in output
    trials = recorded(tmp_path / "sweep").trials
    failed = [trial for trial in trials if float(trial.values["method.ewc_lambda"]) == 1e30]
    assert failed
    assert {trial.state for trial in failed} == {"failed"}
    assert "the loss became infinite or not a number in task 2" in failed[0].reason
    assert {len(trial.scores) for trial in failed} == {1}
    assert {trial.state for trial in trials if trial not in failed} == {"complete"}


def test_a_search_in_which_all_fail_says_so(cl_run: Runner) -> None:
    space = 'hydra.sweeper.space={method.ewc_lambda: "log(1e29, 1e30)"}'
    code, output, error = cl_run(*SEARCH, space, "train.optimizer=sgd", "train.learning_rate=0.1")
    assert (code, output) == (1, "")
    assert "error: no trial came to its end; the last one failed: the loss became infinite" in error


def test_further_seeds_are_of_those_that_are_left(cl_run: Runner, tmp_path: Path) -> None:
    """Of two tasks and three seeds: the better half of those so far goes on after 2 and after 4 tasks."""
    search = [entry.replace("benchmark.tasks=3", "benchmark.tasks=2") for entry in SEARCH]
    assert cl_run(*search, SPACE, "hydra.sweeper.seeds=3")[0] == 0
    trials = recorded(tmp_path / "sweep").trials
    seen: dict[int, list[float]] = {2: [], 4: []}
    for batch in (trials[:4], trials[4:]):
        for rung, scores in seen.items():
            for trial in (trial for trial in batch if rung in trial.scores):
                scores.append(trial.scores[rung])
                stays = trial.scores[rung] >= sorted(scores, reverse=True)[max(1, len(scores) // 2) - 1]
                assert (max(trial.scores) > rung) == stays
    assert {len(trial.directories) for trial in trials} == {1, 2, 3}
    for trial in trials:
        runs = [load_run(tmp_path / "sweep" / name) for name in trial.directories.values()]
        scores = [run.metrics["validation"]["average_accuracy"] for run in runs]
        assert [run.config.seed for run in runs] == list(range(len(runs)))
        assert trial.scores[2 * len(runs)] == pytest.approx(np.mean(scores))
        assert (trial.state == "complete") == (trial.value is not None) == (len(runs) == 3)


def test_less_may_be_better(cl_run: Runner, tmp_path: Path) -> None:
    settings = [entry for entry in SEARCH if not entry.startswith("benchmark.t")]
    curve = ["benchmark=regression", "benchmark.tasks=3", "train=regression", "model=mlp"]
    space = 'hydra.sweeper.space={train.learning_rate: "log(1e-6, 1e-2)"}'
    code, output, _ = cl_run(*settings, *curve, space, "hydra.sweeper.trials=4", "train.epochs=20")
    assert code == 0
    record = recorded(tmp_path / "sweep")
    assert record.best
    assert record.result
    mse = load_run(tmp_path / "sweep" / record.best.directories[0]).metrics["validation"]["average_mse"]
    assert record.best.by_seed[0] == pytest.approx(-mse)
    complete = [trial.value for trial in record.trials if trial.value is not None]
    assert record.best.value == max(complete)
    assert record.result["best"]["mean"] > 0
    assert "average mean squared error on the test set" in output


def test_dropped_runs_are_in_no_number(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cl_runner.report.cli import main as report
    from cl_runner.report.table import runs_table

    before = set(done.iterdir())
    dropped = [trial for trial in recorded(done).trials if trial.state == "dropped"]
    for arguments, words in [
        ([str(done)], f"not in any number: {len(dropped)} dropped\n"),
        (["--status", str(done)], f"{len(dropped)} dropped"),
    ]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["cl-report", *arguments])
            assert report() == 0
        said = capsys.readouterr()
        assert words in said.out + said.err
        assert "to run what is missing" not in said.out
    table = runs_table(done)
    assert len(table[table["average_accuracy"].isna()]) == len(dropped)
    assert table["failed"].isna().all()
    assert set(done.iterdir()) - before == {done / "report"}
    for file in (done / "report").iterdir():
        file.unlink()
    (done / "report").rmdir()


def test_a_damaged_record_is_named(done: Path, cl_run: Runner, tmp_path: Path) -> None:
    text = (done / "search.json").read_text()
    (tmp_path / "sweep").mkdir()
    for content in (text.replace('"number": 1', '"number": 2'), text[:100], ""):
        (tmp_path / "sweep" / "search.json").write_text(content)
        code, _, error = cl_run(*SEARCH, SPACE)
        assert code == 1
        assert error.startswith("error: sweep/search.json: ")
        assert error.count("\n") == 1
    (tmp_path / "sweep" / "search.json").unlink()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("hydra.sweeper.space={}", "hydra.sweeper.space: got nothing, allowed: ranges by key, as in {freeze:"),
        (
            "hydra.sweeper.space={freeze: 0.5}",
            "hydra.sweeper.space.freeze: got 0.5, allowed: uniform(a, b), log(a, b),",
        ),
        ('hydra.sweeper.space={freeze: "normal(0, 1)"}', "hydra.sweeper.space.freeze: got normal(0, 1), allowed: uni"),
        ('hydra.sweeper.space={freeze: "uniform(0.5)"}', "got uniform(0.5), allowed: uniform(a, b) of two numbers"),
        ('hydra.sweeper.space={freeze: "uniform(a, b)"}', "got uniform(a, b), allowed: uniform(a, b) of two numbers"),
        ('hydra.sweeper.space={freeze: "uniform(0.5, 0.1)"}', "got uniform(0.5, 0.1), allowed: a below b"),
        ('hydra.sweeper.space={freeze: "uniform(0, inf)"}', "got uniform(0, inf), allowed: a below b"),
        ('hydra.sweeper.space={method.ewc_lambda: "log(0, 1)"}', "got log(0, 1), allowed: a above 0"),
        ('hydra.sweeper.space={fisher.samples: "int(1, 2.5)"}', "got int(1, 2.5), allowed: int(a, b) of two whole"),
        ('hydra.sweeper.space={freeze: "choice(0.5)"}', "got choice(0.5), allowed: choice(x, y, ...) of two values"),
        ('hydra.sweeper.space={freeze: "choice(0.5, 0.5)"}', "allowed: choice(x, y, ...) of two values at least, each"),
        ('hydra.sweeper.space={freeze: "choice(0.5, ]"}', "hydra.sweeper.space.freeze: got choice(0.5, ], allowed: un"),
        ('hydra.sweeper.space={seed: "int(0, 9)"}', "hydra.sweeper.space.seed: a search cannot be over seed, allowed"),
        ('hydra.sweeper.space={benchmark.tasks: "int(2, 9)"}', "a search cannot be over benchmark.tasks, allowed: se"),
        (
            'hydra.sweeper.space={method.lambda: "log(1, 9)"}',
            "hydra.sweeper.space.method.lambda: method.lambda: unknown setting, allowed: name, joint",
        ),
        (
            'hydra.sweeper.space={freeze: "uniform(0.1, 1.5)"}',
            "hydra.sweeper.space.freeze: freeze: got 1.5, allowed: a number from 0 to 1",
        ),
        (
            'hydra.sweeper.space={method.penalty: "choice(ewc, ewcc)"}',
            "hydra.sweeper.space.method.penalty: method.penalty: got ewcc, allowed: one of none, l2",
        ),
        ("hydra.sweeper.trials=0", "hydra.sweeper.trials: got 0, allowed: an integer from 1 to 100000"),
        ("hydra.sweeper.fresh_seeds=1", "hydra.sweeper.fresh_seeds: got 1, allowed: an integer from 2 to 1000"),
        ("hydra.sweeper.sampler=best", "hydra.sweeper.sampler: got best, allowed: one of tpe, random, cmaes"),
        ("hydra.sweeper.prunner=none", "hydra.sweeper.prunner: unknown setting"),
        (
            "hydra.sweeper.pruner_arguments={reduction: 3}",
            "allowed: arguments of Optuna's SuccessiveHalvingPruner",
        ),
        ("seed=0,1", "seed: got several values, allowed: one, which hydra.sweeper.space may replace"),
        ("train.epochs=0", "train.epochs: got 0, allowed: an integer from 1"),
    ],
)
def test_wrong_searches_are_refused_in_a_line(setting: str, message: str, cl_run: Runner, tmp_path: Path) -> None:
    code, output, error = cl_run(*SEARCH, SPACE if "space" not in setting else "seed=0", setting)
    assert (code, output) == (2, "")
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_another_launcher_is_refused(cl_run: Runner) -> None:
    search = [entry for entry in SEARCH if "launcher" not in entry]
    for launcher in ("basic", "slurm_local"):
        code, _, error = cl_run(*search, SPACE, f"hydra/launcher={launcher}")
        assert (code, error) == (
            2,
            f"error: hydra/launcher: got {launcher} with hydra/sweeper=search, allowed: stacked\n",
        )


def test_without_optuna_a_line_says_so(cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_runner.sweeps.search.study.find_spec", lambda _: None)
    code, _, error = cl_run(*SEARCH, SPACE)
    assert code == 2
    assert "needs Optuna, allowed: once that is installed, as by pip install 'cl-runner[search]'" in error
    assert list(tmp_path.iterdir()) == []


def test_spaces_are_what_they_say() -> None:
    space = parsed(
        {
            "freeze": "uniform(0.1, 0.99)",
            "method": {"ewc_lambda": "log(1, 1e6)", "mask_source": "choice(latest, sum)"},
            "model.hidden": " choice([20], [10, 10]) ",
            "train.epochs": "int(1,5)",
        }
    )
    assert space == {
        "freeze": Dimension("uniform", 0.1, 0.99),
        "method.ewc_lambda": Dimension("log", 1, 1e6),
        "method.mask_source": Dimension("choice", choices=("latest", "sum")),
        "model.hidden": Dimension("choice", choices=("[20]", "[10,10]")),
        "train.epochs": Dimension("int", 1, 5),
    }
    assert [space[key].ends for key in ("freeze", "train.epochs")] == [[0.1, 0.99], [1, 5]]
    assert isinstance(space["train.epochs"].ends[0], int)
    given = ["freeze=0.5", "method=ewc", "seed=7"]
    assert overrides({"freeze": 0.25}, given, 3) == ["method=ewc", "freeze=0.25", "seed=3"]
    assert overrides({"method.parts.si.strength": 1.0}, given) == [*given, "++method.parts.si.strength=1.0"]


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
@pytest.mark.parametrize("pruner", ["successive_halving", "median", "none"])
def test_what_is_asked_rests_on_what_was_told_alone(sampler: str, pruner: str, tmp_path: Path) -> None:
    """Through the record, on a made-up problem, in which it is better than chance to have been told."""
    space = parsed({"x": "uniform(0, 1)", "y": "log(1, 1e6)", "z": "choice(a, b)"})
    searcher = Searcher(space, SETTINGS | {"sampler": sampler, "pruner": pruner}, 4)
    record = Record({})
    for _ in range(3):
        record.trials += searcher.ask(record.told, 6)
        write(tmp_path, record)
        again = recorded(tmp_path)
        assert again == record
        assert searcher.ask(again.told, 6) == record.asked
        race, trials = searcher.race(record.told, 6), record.asked
        for task in (1, 2, 3, 4):
            for place, trial in enumerate(trials):
                if trial.state == "asked":
                    x, y = float(trial.values["x"]), float(trial.values["y"])
                    trial.scores[task] = -abs(x - 0.3) - abs(np.log10(y) - 3) / task
                    race.report(place, task, trial.scores[task])
            for place, trial in enumerate(trials):
                if trial.state == "asked" and task < 4 and race.drops(place):
                    trial.state = "dropped"
        for place, trial in enumerate(trials):
            trial.attributes |= race.attributes(place)
            if trial.state == "asked":
                trial.state, trial.value = "complete", trial.scores[4]
    assert len({tuple(trial.values.values()) for trial in record.trials}) == 18
    assert any(trial.state == "dropped" for trial in record.trials) == (pruner != "none")
