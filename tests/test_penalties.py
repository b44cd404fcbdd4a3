from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cl_runner.engine.mlp import MLPStack
from cl_runner.methods.quadratic import QuadraticPenalty
from cl_runner.methods.settings import PenaltySettings

SIZES = (7, 7, 1)  # 64 parameters a run, so that a buffer has no filling
LAYOUT = MLPStack(SIZES, "relu", [0, 1, 2]).layout
EWC, L2 = PenaltySettings("ewc", 0), PenaltySettings("l2", 0)
ONLINE = PenaltySettings("online_ewc", 0, gamma=0.7)
AVERAGE = PenaltySettings("online_ewc", 0, update="average", alpha=0.7)
STRENGTH = torch.tensor([0.0, 2.0, 50.0], dtype=torch.float64)


def random_tasks(count: int) -> list[tuple[Tensor, Tensor]]:
    """Parameters and Fisher diagonals after each task; a tenth of the information is zero throughout."""
    source = torch.Generator().manual_seed(0)
    alive = torch.rand(LAYOUT.numel, generator=source) > 0.1
    draws = [torch.randn(2, LAYOUT.numel, generator=source, dtype=torch.float64) for _ in range(count)]
    return [(parameters, fisher.square() * alive) for parameters, fisher in draws]


def penalty_after(tasks: list[tuple[Tensor, Tensor]], *kinds: PenaltySettings) -> QuadraticPenalty:
    """Of three runs with `STRENGTH`; all of one kind, or each of its own."""
    each = kinds if len(kinds) == 3 else kinds * 3
    rules = [replace(kind, strength=float(value)) for kind, value in zip(each, STRENGTH, strict=True)]
    stack = MLPStack(SIZES, "relu", [0, 1, 2], dtype=tasks[0][0].dtype)
    found = QuadraticPenalty(stack, rules)
    for task, (parameters, fisher) in enumerate(tasks):
        stack.parameters.copy_(parameters)
        found.end(task, fisher, SIZES[-1])
    return found


def gradient_of(penalty: QuadraticPenalty, at: Tensor) -> Tensor:
    penalty.stack.parameters.copy_(at)
    penalty.stack.gradient.fill_(1)
    penalty.on_gradient()
    return penalty.stack.gradient - 1


def value_of(penalty: QuadraticPenalty, at: Tensor) -> Tensor:
    penalty.stack.parameters.copy_(at)
    return penalty.value()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_running_quadratic_equals_the_explicit_sum_over_tasks(count: int) -> None:
    tasks = random_tasks(count)
    at = torch.randn(LAYOUT.numel, dtype=torch.float64, requires_grad=True)
    explicit = sum(
        (0.5 * STRENGTH * LAYOUT.totals(fisher * (at - parameters).square()) for parameters, fisher in tasks),
        start=torch.zeros(3, dtype=torch.float64),
    )
    explicit.sum().backward()
    penalty = penalty_after(tasks, EWC)
    torch.testing.assert_close(value_of(penalty, at.detach()), explicit.detach())
    torch.testing.assert_close(gradient_of(penalty, at.detach()), at.grad)


def test_online_penalty_decays_and_is_anchored_at_the_latest() -> None:
    tasks = random_tasks(3)
    at = torch.randn(LAYOUT.numel, dtype=torch.float64)
    running = torch.zeros_like(at)
    for _, fisher in tasks:
        running = 0.7 * running + fisher
    expected = LAYOUT.spread(STRENGTH) * running * (at - tasks[-1][0])
    penalty = penalty_after(tasks, ONLINE)
    torch.testing.assert_close(gradient_of(penalty, at), expected)
    torch.testing.assert_close(value_of(penalty, tasks[-1][0]), torch.zeros(3, dtype=torch.float64))


def test_no_pull_at_the_anchor_of_a_single_task() -> None:
    parameters, fisher = random_tasks(1)[0]
    penalty = penalty_after([(parameters.float(), fisher.float())], EWC)
    assert not gradient_of(penalty, penalty.centre).any()
    assert not value_of(penalty, penalty.centre).any()


@pytest.mark.parametrize("kind", [EWC, ONLINE, AVERAGE, L2])
def test_no_pull_at_the_latest_parameters_where_earlier_tasks_have_no_weight(kind: PenaltySettings) -> None:
    # Of EWC where the earlier tasks' information is zero; of L2, where every task weighs the same, while there is one;
    # of online EWC everywhere.
    tasks = [(parameters.float(), fisher.float()) for parameters, fisher in random_tasks(3)]
    alone = torch.rand(LAYOUT.numel, generator=torch.Generator().manual_seed(1)) < 0.5
    tasks = [(parameters, fisher * ~alone) for parameters, fisher in tasks[:-1]] + tasks[-1:]
    if kind == L2:
        tasks, alone = tasks[-1:], torch.ones_like(alone)
    if kind.kind == "online_ewc":
        alone = torch.ones_like(alone)
    penalty = penalty_after(tasks, kind)
    latest = tasks[-1][0].to(penalty.centre)
    assert not gradient_of(penalty, latest)[alone].any()
    assert gradient_of(penalty, latest + 1)[alone].any()


def test_what_does_not_move_keeps_its_centre() -> None:
    # Outputs out of use, for example, which L2 weighs by every task all the same.
    parameters = random_tasks(1)[0][0].float()
    fishers = [fisher.float() for _, fisher in random_tasks(5)]
    for kind in (EWC, ONLINE, AVERAGE, L2):
        penalty = penalty_after([(parameters, fisher) for fisher in fishers], kind)
        assert torch.equal(penalty.centre, parameters)
        assert not penalty.constant.any()


def test_a_moving_average_begins_with_the_first_task() -> None:
    tasks = random_tasks(3)
    at = torch.randn(LAYOUT.numel, dtype=torch.float64)
    average = tasks[0][1]
    for _, fisher in tasks[1:]:
        average = 0.7 * average + 0.3 * fisher
    expected = LAYOUT.spread(STRENGTH) * average * (at - tasks[-1][0])
    torch.testing.assert_close(gradient_of(penalty_after(tasks, AVERAGE), at), expected)


def test_l2_pulls_with_the_same_force_at_every_parameter() -> None:
    tasks = random_tasks(3)
    at = torch.randn(LAYOUT.numel, dtype=torch.float64)
    expected = LAYOUT.spread(STRENGTH) * sum((at - parameters for parameters, _ in tasks), torch.zeros_like(at))
    torch.testing.assert_close(gradient_of(penalty_after(tasks, L2), at), expected)


def test_runs_of_all_kinds_share_a_stack() -> None:
    tasks = random_tasks(3)
    at = torch.randn(LAYOUT.numel, dtype=torch.float64)
    for kinds in ((EWC, ONLINE, L2), (ONLINE, AVERAGE, EWC), (L2, EWC, AVERAGE)):
        mixed = gradient_of(penalty_after(tasks, *kinds), at)
        for run, kind in enumerate(kinds):
            alone = LAYOUT.named(gradient_of(penalty_after(tasks, kind), at), run)
            for name, tensor in LAYOUT.named(mixed, run).items():
                torch.testing.assert_close(tensor, alone[name])


@pytest.mark.parametrize("kind", [L2, EWC, ONLINE])
def test_outputs_of_tasks_to_come_are_not_held(kind: PenaltySettings) -> None:
    stack = MLPStack((3, 2, 4), "relu", [0])
    layout, penalty = stack.layout, QuadraticPenalty(stack, [replace(kind, strength=2.0)])
    first, second = torch.randn(2, layout.numel)
    alive = torch.ones(layout.numel)
    for part in layout.layers(alive)[-1]:
        part[:, 2:] = 0
    stack.parameters.copy_(first)
    penalty.end(0, alive, 2)
    pull = gradient_of(penalty, second)
    own = slice(layout.per_row)
    torch.testing.assert_close(pull[own], (2 * alive * (second - first))[own], rtol=1e-4, atol=1e-5)
    for part in layout.layers(pull)[-1]:
        assert (part[:, 2:] == 0).all()
    # Once a task has had them they are.
    stack.parameters.copy_(second)
    penalty.end(1, torch.ones(layout.numel), 4)
    weight, bias = layout.layers(gradient_of(penalty, second + 1))[-1]
    assert (weight[:, 2:] > 0).all()
    assert (bias[:, 2:] > 0).all()
