"""A run that is stopped and taken up again ends as if nothing had happened."""

import filecmp
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import MakeConfig
from test_runner import Silent

from cl_runner.config.schema import Config
from cl_runner.errors import StateError, StoppedError
from cl_runner.results.files import STATE
from cl_runner.runs import loop
from cl_runner.runs.loop import run_stack
from cl_runner.signals import Pauses

SMALL = [
    "benchmark.tasks=3",
    "benchmark.train_samples=110",
    "train.epochs=2",
    "model.hidden=[9,8]",
    "fisher.samples=30",
]
METHODS = [
    ["method=ewc"],
    ["method=online_ewc", "method.update=average"],
    ["method=layerwise_mask", "method.mask_source=sum", "method.soft=true"],
    ["method=global_mask", "method.mask_source=union", "method.ewc_lambda=3"],
    ["method=l1_sparsity", "freeze=0.5"],
    ["method=finetune"],
]
# Seconds and versions differ between runs.
TIMED = {"run.json", "training.csv", ".lock"}


class StopAt(Pauses):
    """Saves after every step, and stops at the save of this number."""

    count = itertools.count()
    last = -1

    def __init__(self, _: float) -> None:
        super().__init__(0)

    def due(self) -> bool:
        return True

    def saved(self) -> None:
        if next(StopAt.count) == StopAt.last:
            raise StoppedError(15)


def same(one: Path, other: Path) -> None:
    names = {str(path.relative_to(one)) for path in one.rglob("*") if path.is_file()} - TIMED
    assert names == {str(path.relative_to(other)) for path in other.rglob("*") if path.is_file()} - TIMED
    assert STATE not in names
    assert filecmp.cmpfiles(one, other, names, shallow=False)[1:] == ([], [])
    losses = [[row.rsplit(",", 2)[0] for row in (d / "training.csv").read_text().splitlines()] for d in (one, other)]
    assert losses[0] == losses[1]


def configs_of(make_config: MakeConfig, *overrides: str) -> list[Config]:
    return [make_config(*SMALL, *overrides, *method, f"seed={seed}") for seed in (0, 1) for method in METHODS]


def folders(place: Path, count: int) -> list[Path]:
    return [place / str(number) for number in range(count)]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["train.optimizer=sgd", "train.momentum=0.9", "train.learning_rate=0.1"],
        ["train.optimizer=sgd", "train.epochs=null", "train.iterations=5"],
        ["train.keep_optimizer=true"],
        ["benchmark=split_digits", "benchmark.scenario=class", "train.keep_optimizer=true", "train.batch_size=8"],
        ["train.keep_optimizer=true", "train.optimizer=sgd", "train.momentum=0.9", "train.learning_rate=0.1"],
        ["benchmark=split_digits", "benchmark.scenario=task", "train.weight_decay=0.1", "train.batch_size=8"],
        ["benchmark=regression", "train.first_epochs=6", "train.epochs=4", "benchmark.tasks=2"],
        ["benchmark=split_digits", "benchmark.scenario=class", "benchmark.class_order=fixed", "train.batch_size=8"],
    ],
)
def test_stopped_anywhere_and_taken_up_again_the_bits_are_the_same(
    overrides: list[str], make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = configs_of(make_config, *overrides)
    undisturbed = folders(tmp_path / "undisturbed", len(configs))
    run_stack(configs, undisturbed, Silent())
    monkeypatch.setattr(loop, "Pauses", StopAt)
    disturbed = folders(tmp_path / "disturbed", len(configs))
    stops = 0
    for pause in itertools.count(1):
        # Once it saved `pause` times more, it stops: at another step of another epoch each time.
        StopAt.count, StopAt.last = itertools.count(), pause
        try:
            run_stack(configs, disturbed, Silent())
            break
        except StoppedError:
            stops += 1
            assert all((directory / STATE).exists() for directory in disturbed)
    assert stops >= 3
    for one, other in zip(undisturbed, disturbed, strict=True):
        same(one, other)


def test_joint_training_goes_on_from_the_middle_of_a_task(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(*SMALL, "method=joint")
    run_stack([config], [tmp_path / "undisturbed"], Silent())
    monkeypatch.setattr(loop, "Pauses", StopAt)
    for last in (11, 10_000):
        StopAt.count, StopAt.last = itertools.count(), last
        try:
            run_stack([config], [tmp_path / "disturbed"], Silent())
        except StoppedError:
            assert last == 11
    same(tmp_path / "undisturbed", tmp_path / "disturbed")


@pytest.fixture
def stopped(make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Config, Path]:
    """A run that was stopped in its first task, and its directory."""
    config = make_config(*SMALL, "method=ewc")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "Pauses", StopAt)
        StopAt.count, StopAt.last = itertools.count(), 2
        with pytest.raises(StoppedError):
            run_stack([config], [tmp_path / "run"], Silent())
    return config, tmp_path / "run"


def test_what_was_recorded_after_the_state_is_dropped(stopped: tuple[Config, Path], tmp_path: Path) -> None:
    config, directory = stopped
    for name in ("accuracy.csv", "training.csv", "learning_curves.csv", "layers.csv"):
        with (directory / name).open("a") as file:
            file.write("1,2,half a ro")
    run_stack([config], [directory], Silent())
    run_stack([config], [tmp_path / "undisturbed"], Silent())
    same(tmp_path / "undisturbed", directory)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[:-9],
    "flipped": lambda content: content[:-5] + bytes([content[-5] ^ 1]) + content[-4:],
    "flipped in the header": lambda content: content.replace(rb'"step\": 3', rb'"step\": 1'),
    "other": lambda _: b"other",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_refused(damage: str, stopped: tuple[Config, Path]) -> None:
    config, directory = stopped
    content = (directory / STATE).read_bytes()
    (directory / STATE).write_bytes(DAMAGES[damage](content))
    assert (directory / STATE).read_bytes() != content
    before = (directory / "accuracy.csv").read_bytes()
    with pytest.raises(StateError, match=r"is damaged.*delete it"):
        run_stack([config], [directory], Silent())
    assert (directory / "accuracy.csv").read_bytes() == before


def test_a_state_of_another_config_is_refused(stopped: tuple[Config, Path], make_config: MakeConfig) -> None:
    _, directory = stopped
    other = make_config(*SMALL, "method=ewc", "method.ewc_lambda=11")
    with pytest.raises(StateError, match=r"method\.ewc_lambda: got 11\.0, but .* is of a run with 10\.0"):
        run_stack([other], [directory], Silent())
    # What does not change the results may differ.
    incidental = make_config(*SMALL, "method=ewc", "checkpoint.minutes=7", "plots=none")
    assert run_stack([incidental], [directory], Silent())[0].failure is None


def test_runs_at_different_points_cannot_share_a_stack(
    stopped: tuple[Config, Path], make_config: MakeConfig, tmp_path: Path
) -> None:
    config, directory = stopped
    with pytest.raises(ValueError, match="different points"):
        run_stack([config, make_config(*SMALL, "method=ewc", "seed=1")], [directory, tmp_path / "new"], Silent())


def test_tables_that_lost_rows_are_refused(stopped: tuple[Config, Path], tmp_path: Path) -> None:
    config, directory = stopped
    table = directory / "accuracy.csv"
    whole, others = table.read_bytes(), {path: path.read_bytes() for path in directory.glob("*.csv") if path != table}
    refused = rf"accuracy\.csv is shorter than its state says: delete {directory / STATE} to start the run anew"
    for left in (whole[:-1], b""):
        table.write_bytes(left)
        with pytest.raises(StateError, match=refused):
            run_stack([config], [directory], Silent())
        assert table.read_bytes() == left
        assert {path: path.read_bytes() for path in others} == others
    table.unlink()
    with pytest.raises(StateError, match=refused):
        run_stack([config], [directory], Silent())
    # What it says to do helps.
    (directory / STATE).unlink()
    run_stack([config], [directory], Silent())
    run_stack([config], [tmp_path / "undisturbed"], Silent())
    same(tmp_path / "undisturbed", directory)


def test_generators_are_those_of_their_seeds(stopped: tuple[Config, Path]) -> None:
    # The state holds that of the batches' generator before the epoch, not after its order was drawn.
    from cl_runner.engine.seeding import generator
    from cl_runner.runs.state import load_state

    state = load_state(stopped[1], stopped[0])
    assert state is not None
    assert state.generator is not None
    assert torch.equal(state.generator, generator(0, "batches", 0).get_state())
