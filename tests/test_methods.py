"""The methods against each other, on the default benchmark at full length."""

import pytest
import torch
from conftest import MakeConfig, tiny_pair
from test_runner import Silent

from cl_runner.benchmarks.datasets import Dataset
from cl_runner.methods.method import Method, history
from cl_runner.results.run import load_run
from cl_runner.runs.loop import run_stack

METHODS = ["finetune", "ewc", "online_ewc", "global_mask", "layerwise_mask", "l1_sparsity", "joint"]


@pytest.fixture(scope="module")
def average_accuracy(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Of each method with its defaults; all but joint training in one stack."""
    folder = tmp_path_factory.mktemp("methods")
    for methods in (METHODS[:-1], METHODS[-1:]):
        configs = [make_config(f"method={method}", "benchmark.validation=null") for method in methods]
        run_stack(configs, [folder / method for method in methods], Silent())
    return {method: load_run(folder / method).metrics["average_accuracy"] for method in METHODS}


def test_joint_training_is_the_upper_bound(average_accuracy: dict[str, float]) -> None:
    others = max(value for method, value in average_accuracy.items() if method != "joint")
    assert average_accuracy["joint"] > 0.93
    assert average_accuracy["joint"] > others + 0.1


@pytest.mark.parametrize("method", ["ewc", "online_ewc", "layerwise_mask", "l1_sparsity"])
def test_protection_beats_fine_tuning(method: str, average_accuracy: dict[str, float]) -> None:
    assert average_accuracy[method] > average_accuracy["finetune"] + 0.03


@pytest.mark.parametrize(
    ("one", "other", "same_up_to"),
    [
        (["method=ewc"], ["method=global_mask"], 0),
        (["method=ewc"], ["method=ewc", "seed=1"], None),
        (["method=ewc"], ["method=ewc", "method.l1_lambda=0.1"], None),
        (["method=ewc"], ["method=ewc", "method.ewc_lambda=11"], 0),
        (["method=ewc"], ["method=ewc", "fisher.samples=50"], 0),
        (["method=ewc"], ["method=online_ewc"], 1),
        (["method=ewc"], ["method=ewc", "method.gamma=0.5"], 2),
        (["method=online_ewc"], ["method=online_ewc", "method.gamma=0.5"], 1),
        (["method=online_ewc"], ["method=online_ewc", "method.alpha=0.7"], 2),
        (["method=online_ewc"], ["method=online_ewc", "method.update=average"], 1),
        (["method=online_ewc", "method.update=average"], ["method=ewc"], 1),
        (["method=online_ewc", "method.update=average"], ["method=online_ewc", "method.gamma=0"], 1),
        (["method=ewc"], ["method=ewc", "method.update=average", "method.alpha=0"], 2),
        (["method=ewc"], ["method=l2"], 0),
        (["method=l2"], ["method=l2", "fisher.samples=50"], 2),
        (["method=ewc", "method.ewc_lambda=0"], ["method=finetune", "fisher.estimator=empirical"], 2),
        (["method=global_mask"], ["method=global_mask", "freeze=0.6"], 0),
        (["method=global_mask"], ["method=layerwise_mask", "freeze=0.5"], 0),
        (["method=global_mask"], ["method=global_mask", "method.unit=neuron"], 0),
        (["method=global_mask"], ["method=global_mask", "method.mask_source=union"], 1),
        (["method=global_mask", "freeze=0"], ["method=finetune"], 2),
        (["method=global_mask"], ["method=global_mask", "method.soft=true"], 0),
        (["method=global_mask", "freeze=0", "method.soft=true"], ["method=finetune"], 0),
        (["method=global_mask", "freeze=0", "method.soft=true"], ["method=layerwise_mask", "method.soft=true"], 0),
        (["method=finetune", "method.soft=true"], ["method=finetune"], 2),
        (["method=ewc"], ["method=ewc", "train.learning_rate=0.01"], None),
        (["method=ewc"], ["method=ewc", "train.momentum=0.9"], None),
        (["method=ewc"], ["method=ewc", "train.task_decay=0.5"], 0),
        (["method=ewc"], ["method=ewc", "model.dropout=0.5"], None),
        (["method=l1_sparsity"], ["method=l1_sparsity", "train.task_decay=0.5"], 0),
        (["method=ewc"], ["method=ewc", "train.weight_decay=0.01"], None),
    ],
)
def test_histories_agree_until_a_setting_makes_a_difference(
    one: list[str], other: list[str], same_up_to: int | None, make_config: MakeConfig
) -> None:
    configs = make_config(*one), make_config(*other)
    agree = [history(configs[0], task) == history(configs[1], task) for task in range(3)]
    assert agree == [same_up_to is not None and task <= same_up_to for task in range(3)]


def test_a_part_that_no_run_uses_is_left_out(make_config: MakeConfig, tiny: Dataset) -> None:
    config = make_config("method=finetune")
    _, stack = tiny_pair(config, tiny, [0])
    method = Method(stack, [config])
    before = stack.parameters.clone()
    method.end(0, torch.ones_like(stack.parameters), stack.sizes[-1])
    method.prepare()
    method.on_gradient()
    method.on_update()
    assert torch.equal(stack.parameters, before)
    assert not stack.gradient.any()
    assert (method.scale == 1).all()
    assert not method.terms()


def test_parts_combine(make_config: MakeConfig, tiny: Dataset) -> None:
    config = make_config("method=global_mask", "freeze=0.5", "method.ewc_lambda=2", "method.l1_lambda=0.1")
    _, stack = tiny_pair(config, tiny, [0])
    method = Method(stack, [config])
    fisher = torch.rand_like(stack.parameters)
    method.end(0, fisher, stack.sizes[-1])
    method.prepare()
    anchor = stack.parameters.clone()
    stack.parameters += 1
    method.on_gradient()
    for name, tensor in stack.layout.named(stack.gradient, 0).items():
        torch.testing.assert_close(tensor, 2 * stack.layout.named(fisher, 0)[name])
    penalty, l1 = method.terms()["penalty"], method.terms()["l1"]
    torch.testing.assert_close(penalty, stack.layout.totals(fisher) * 2 / 2)
    norm = sum(weight.abs().sum() for weight, _ in stack.layers)
    torch.testing.assert_close(l1, 0.1 * torch.as_tensor(norm)[None])
    method.on_update()
    frozen = method.scale == 0
    assert torch.equal(stack.parameters[frozen], anchor[frozen])
