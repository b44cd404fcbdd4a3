from typing import Any

import pytest
from conftest import MakeConfig
from omegaconf import OmegaConf

from cl_runner.config.allowed import Choice, EachOf, Range, Words
from cl_runner.config.descriptions import describe
from cl_runner.config.sweep_schema import SlurmLauncherConfig, SlurmLocalLauncherConfig, StackedLauncherConfig
from cl_runner.errors import ConfigError
from cl_runner.methods.acting import unused_settings
from cl_runner.runs.checks import checked


@pytest.mark.parametrize(
    ("limit", "allowed", "refused"),
    [
        (Range(0, 1), [0, 0.5, 1], [-0.01, 1.01, float("nan")]),
        (Range(0, 1e9, open_low=True), [1e-9, 1e9], [0, -1, float("inf"), 10**400]),
        (Range(0, 1, open_high=True), [0, 0.99], [1]),
        (Choice(("a", "b")), ["a", "b"], ["c", ""]),
        (EachOf(Range(1, 9)), [[1], [2, 3]], [[], [0], [1, 0], [[1]], 3, [None]]),
        (Words(), [[], ["a", "b"]], [[["a"]], [1], 3]),
    ],
)
def test_limits(limit: Choice | Range | EachOf | Words, allowed: list[Any], refused: list[Any]) -> None:
    assert all(limit.allows(value) for value in allowed)
    assert not any(limit.allows(value) for value in refused)


def test_limits_in_words() -> None:
    assert str(Range(0, 1)) == "from 0 to 1"
    assert str(Range(0, 1, open_high=True)) == "from 0 to below 1"
    assert str(Range(0, 1e6, open_low=True)) == "above 0, at most 1e+06"
    assert str(Range(0, 2**63 - 1)) == "from 0 to 9223372036854775807"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("freeze", "a number from 0 to 1"),
        ("threads", "an integer from 1 to 1024, or null"),
        ("benchmark.scenario", "one of domain, task, class"),
        ("benchmark.normalize", "true or false"),
        ("model.hidden", "a list of integers with at least one entry, each from 1 to 16384"),
        ("data_dir", "a word"),
        ("benchmark.class_order", "one of seed, fixed, or a list of distinct classes, as in [3,1,4,0]"),
    ],
)
def test_what_a_field_allows_in_words(key: str, words: str) -> None:
    assert describe(key) == words


def test_an_unknown_key_is_told_its_neighbours() -> None:
    assert "did you mean train.learning_rate?" in describe("train.learnin_rate")
    assert "momentum" in describe("train.lr")


def test_a_missing_value_is_named(make_config: MakeConfig) -> None:
    config = OmegaConf.structured(make_config())
    config.train.batch_size = "???"
    with pytest.raises(ConfigError, match=r"train\.batch_size: got nothing, allowed: an integer from 1 to"):
        checked(config)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["method=ewc", "freeze=0.9"], ["freeze"]),
        (["method=global_mask", "freeze=0.9", "method.unit=neuron"], []),
        (["method=finetune", "method.ewc_lambda=3", "method.gamma=0.5"], ["method.ewc_lambda", "method.gamma"]),
        (["method=global_mask", "method.ewc_lambda=3"], []),
        (["method=online_ewc", "method.gamma=0.5"], []),
        (["method=ewc", "train.momentum=0.5", "fisher.batch_size=3"], ["train.momentum", "fisher.batch_size"]),
        (["train.optimizer=sgd", "train.momentum=0.5"], []),
        (["method.mask=layerwise"], ["method.mask"]),
        (["method.mask=layerwise", "freeze=0.5"], []),
        (["method.mask=layerwise", "method.soft=true"], []),
        (["method.mask=layerwise", "method.soft=false"], ["method.mask"]),
        (["method=ewc", "method.soft=true"], ["method.soft"]),
        (["method.penalty=ewc"], ["method.penalty"]),
        (["method=ewc", "method.penalty=none", "method.mask=none"], []),
        (["benchmark.class_order=fixed"], ["benchmark.class_order"]),
        (["benchmark=split_digits", "benchmark.class_order=fixed"], []),
        (["benchmark.angles=random", "benchmark.max_angle=90"], ["benchmark.angles", "benchmark.max_angle"]),
        (["benchmark=rotated_mnist", "benchmark.angles=random", "benchmark.max_angle=90"], []),
        (["method=global_mask", "method.unused=counted"], ["method.unused"]),
        (["method=global_mask", "benchmark=split_digits", "benchmark.scenario=task", "method.unused=counted"], []),
    ],
)
def test_settings_without_effect(overrides: list[str], named: list[str], make_config: MakeConfig) -> None:
    lines = unused_settings(make_config(*overrides), overrides)
    assert [line.split()[0] for line in lines] == named


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ("[0,1,2]", r"at least 4 classes, each from 0 to 9"),
        ("[0,1,2,10]", r"at least 4 classes, each from 0 to 9"),
        *[
            (given, r"one of seed, fixed, or a list of distinct classes")
            for given in ("[0,1,1,2]", "[]", "[0,1,2.0,3]", "[0,1,true,3]", "[a,b]", "[-1,0,1,2]", "drawn", "7", "null")
        ],
    ],
)
def test_a_wrong_order_of_classes_is_refused(given: str, allowed: str, make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=rf"^benchmark\.class_order: got .*, allowed: {allowed}"):
        make_config("benchmark=split_digits", "benchmark.tasks=2", f"benchmark.class_order={given}")


@pytest.mark.parametrize(
    ("key", "schema", "words"),
    [
        ("hydra.launcher.mem_gb", SlurmLauncherConfig, "a number above 0, at most 1e+06, or null"),
        ("hydra.launcher.setup", SlurmLauncherConfig, "a list of words"),
        ("hydra.launcher.wait", SlurmLocalLauncherConfig, "true or false"),
        ("hydra.launcher.additional_parameters", SlurmLauncherConfig, "a list of words"),
        ("hydra.launcher.workers", StackedLauncherConfig, "an integer from 1 to 1024, or null"),
        (
            "hydra.launcher.worker",
            StackedLauncherConfig,
            "size, workers (did you mean hydra.launcher.workers?)",
        ),
    ],
)
def test_what_a_launchers_field_allows_in_words(key: str, schema: type, words: str) -> None:
    assert describe(key, schema) == words
