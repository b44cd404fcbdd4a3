import pytest
import torch
from torch import Tensor

from cl_runner.penalties import QuadraticPenalty
from cl_runner.stack import Layout

LAYOUT = Layout((7, 7, 1), runs=3)  # 64 parameters a run, so that a buffer has no filling
STRENGTH = torch.tensor([0.0, 2.0, 50.0], dtype=torch.float64)


def random_tasks(count: int) -> list[tuple[Tensor, Tensor]]:
    """Parameters and Fisher diagonals after each task; a tenth of the information is zero throughout."""
    source = torch.Generator().manual_seed(0)
    alive = torch.rand(LAYOUT.numel, generator=source) > 0.1
    draws = [torch.randn(2, LAYOUT.numel, generator=source, dtype=torch.float64) for _ in range(count)]
    return [(parameters, fisher.square() * alive) for parameters, fisher in draws]


def penalty_after(tasks: list[tuple[Tensor, Tensor]], online: bool, decay: float = 1.0) -> QuadraticPenalty:
    found = QuadraticPenalty(LAYOUT, STRENGTH, torch.full((3,), online), torch.full((3,), decay, dtype=torch.float64))
    for parameters, fisher in tasks:
        found.consolidate(parameters, fisher)
    return found


def gradient_of(penalty: QuadraticPenalty, at: Tensor) -> Tensor:
    gradient = torch.ones_like(at)
    penalty.add_gradient(at, gradient)
    return gradient - 1


@pytest.mark.parametrize("count", [1, 2, 7])
def test_running_quadratic_equals_the_explicit_sum_over_tasks(count: int) -> None:
    tasks = random_tasks(count)
    at = torch.randn(LAYOUT.numel, dtype=torch.float64, requires_grad=True)
    explicit = sum(
        (0.5 * STRENGTH * LAYOUT.totals(fisher * (at - parameters).square()) for parameters, fisher in tasks),
        start=torch.zeros(3, dtype=torch.float64),
    )
    explicit.sum().backward()
    penalty = penalty_after(tasks, online=False)
    torch.testing.assert_close(penalty.value(at.detach()), explicit.detach())
    torch.testing.assert_close(gradient_of(penalty, at.detach()), at.grad)


def test_online_penalty_decays_and_is_anchored_at_the_latest() -> None:
    tasks = random_tasks(3)
    at = torch.randn(LAYOUT.numel, dtype=torch.float64)
    running = torch.zeros_like(at)
    for _, fisher in tasks:
        running = 0.7 * running + fisher
    expected = LAYOUT.spread(STRENGTH) * running * (at - tasks[-1][0])
    penalty = penalty_after(tasks, online=True, decay=0.7)
    torch.testing.assert_close(gradient_of(penalty, at), expected)
    torch.testing.assert_close(penalty.value(tasks[-1][0]), torch.zeros(3, dtype=torch.float64))


def test_no_pull_at_the_anchor_of_a_single_task() -> None:
    parameters, fisher = random_tasks(1)[0]
    penalty = penalty_after([(parameters.float(), fisher.float())], online=False)
    assert not gradient_of(penalty, penalty.centre).any()
    assert not penalty.value(penalty.centre).any()


def test_runs_of_both_kinds_share_a_stack() -> None:
    tasks = random_tasks(3)
    at = torch.randn(LAYOUT.numel, dtype=torch.float64)
    mixed = QuadraticPenalty(LAYOUT, STRENGTH, torch.tensor([False, True, False]), torch.full((3,), 0.7).double())
    for parameters, fisher in tasks:
        mixed.consolidate(parameters, fisher)
    for run, online in enumerate([False, True, False]):
        alone = LAYOUT.named(gradient_of(penalty_after(tasks, online, 0.7), at), run)
        for name, tensor in LAYOUT.named(gradient_of(mixed, at), run).items():
            torch.testing.assert_close(tensor, alone[name])
