import re

import pandas as pd
import pytest

from cl_runner.errors import ConfigError
from cl_runner.report.settings import as_column, distinguishing, labels, select, shown


def frame(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame({key.replace("__", "."): as_column(values) for key, values in columns.items()})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (1.0, "1"),
        (True, "true"),
        (None, "null"),
        (1e-5, "1e-05"),
        ([100, 50], "[100,50]"),
        ("ewc", "ewc"),
    ],
)
def test_values_as_on_the_command_line(value: object, text: str) -> None:
    assert shown(value) == text


def test_columns_have_one_type() -> None:
    assert as_column([1, 2]).dtype == "int64"
    assert as_column([1, 0.5, None]).dtype == "float64"
    assert as_column([True, False]).dtype == "bool"
    assert as_column(["a", None]).tolist() == ["a", None]
    assert as_column([1, "all"]).tolist() == ["1", "all"]


def test_what_a_method_determines_is_not_shown_unless_it_varies_within() -> None:
    table = frame(
        method=["ewc", "ewc", "mask", "mask"],
        method__mask=["none", "none", "global", "global"],
        method__ewc_lambda=[1.0, 10.0, 0.0, 0.0],
        freeze=[0.0, 0.0, 0.5, 0.5],
        train__epochs=[5, 5, 9, 9],
        fisher__samples=[10, 10, 20, 20],
        device=["cpu", "cuda", "cpu", "cuda"],
        seed=[0, 1, 2, 3],
        model=["mlp", "mlp", "mlp", "mlp"],
    )
    keys, follows = distinguishing(table, table.columns.tolist())
    # That one method was trained for longer than the other does not follow from it.
    assert keys == ["method", "method.ewc_lambda", "train.epochs", "fisher.samples"]
    assert follows == {"method.mask": "method", "freeze": "method"}


def test_what_varies_without_a_second_method_is_shown() -> None:
    table = frame(method=["ewc", "ewc"], freeze=[0.0, 0.5], benchmark=["a", "b"], benchmark__tasks=[5, 10])
    keys, follows = distinguishing(table, table.columns.tolist())
    assert keys == ["benchmark", "freeze"]
    assert follows == {"benchmark.tasks": "benchmark"}


def test_what_a_network_determines_is_not_shown_unless_it_varies_within() -> None:
    table = frame(
        model=["mlp", "module", "module"], model__target=[None, "nets.make", "nets.make"], model__hidden=[None, 8, 9]
    )
    keys, follows = distinguishing(table, table.columns.tolist())
    assert keys == ["model", "model.hidden"]
    assert follows == {"model.target": "model"}


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("freeze=0.5", [0, 1]),
        ("freeze=0.50", [0, 1]),
        ("freeze=5e-1", [0, 1]),
        ("freeze=5e-1,0.7", [0, 1, 2]),
        ("method=ewc", [0]),
        ("method.name=ewc", [0]),
        ("train.epochs=10", [0, 1, 2]),
        ("train.epochs=1e1", [0, 1, 2]),
        ("benchmark.train_samples=null", [1]),
        ("benchmark.normalize=True", [0]),
        ("model.hidden=[100, 50],[7]", [0, 2]),
    ],
)
def test_where(condition: str, rows: list[int]) -> None:
    table = frame(
        method=["ewc", "mask", "mask"],
        freeze=[0.5, 0.5, 0.7],
        train__epochs=[10, 10, 10],
        benchmark__train_samples=[100, None, 200],
        benchmark__normalize=[True, False, False],
        model__hidden=[[100, 50], [100], [7]],
    )
    assert select(table, table.columns.tolist(), condition, "--where").index.tolist() == rows


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("metod=ewc", "--where: unknown setting metod (did you mean method?), allowed: freeze, method"),
        ("freeze=0.6", "--where freeze=0.6: no finished run has it, allowed: freeze= one of 0.5, 0.7"),
        ("freeze", "allowed: freeze= one of 0.5, 0.7"),
    ],
)
def test_where_that_selects_nothing(condition: str, message: str) -> None:
    table = frame(method=["ewc", "mask"], freeze=[0.7, 0.5])
    with pytest.raises(ConfigError, match=re.escape(message)):
        select(table, table.columns.tolist(), condition, "--where")


def test_labels_tell_settings_apart_and_no_more() -> None:
    table = frame(method=["finetune", "ewc", "ewc"], method__ewc_lambda=[0.0, 1.0, 10.0])
    assert labels(table, table.columns.tolist()) == ["finetune", "ewc, ewc_lambda=1", "ewc, ewc_lambda=10"]
    table = frame(train__batch_size=[32, 64], fisher__batch_size=[1, 2])
    assert labels(table, table.columns.tolist())[0] == "train.batch_size=32, fisher.batch_size=1"
