import math

import pytest
import torch

from cl_runner.benchmarks.likelihoods import Categorical, Gaussian


def test_loss_and_signal_equal_autograd() -> None:
    logits = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (2, 5))
    loss, signal = Categorical().loss_and_signal(logits.detach(), labels)
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    expected.sum().backward()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(signal, logits.grad)


def test_large_logits_stay_finite() -> None:
    loss, signal = Categorical().loss_and_signal(torch.tensor([[[1000.0], [0.0]]]), torch.tensor([[1]]))
    assert loss.item() == 1000.0
    assert torch.equal(signal, torch.tensor([[[1.0], [-1.0]]]))


def test_inactive_classes_have_no_part() -> None:
    logits = torch.tensor([[[0.3], [-torch.inf], [1.2]]])
    loss, signal = Categorical().loss_and_signal(logits, torch.tensor([[2]]))
    assert torch.isfinite(loss).all()
    assert signal[0, 1, 0] == 0
    two_of_four = torch.tensor([[[-torch.inf], [0.3], [1.2], [-torch.inf]]])
    squares = Categorical().expected_signals(two_of_four, slice(1, 3)).square().sum(2)
    share = torch.softmax(two_of_four[0, 1:3, 0], 0)
    torch.testing.assert_close(squares[0, :, 0], torch.tensor([0, 1, 1, 0]) * share[0] * share[1])


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_expected_signals_are_the_expectation_over_labels(scale: float, dtype: torch.dtype) -> None:
    logits = scale * torch.randn(1, 5, 50, dtype=dtype, generator=torch.Generator().manual_seed(0))
    likelihood = Categorical()
    probabilities = torch.softmax(logits, 1)
    expected = torch.zeros(1, 5, 5, 50, dtype=dtype)
    for label in range(5):
        signal = likelihood.loss_and_signal(logits, torch.full((1, 50), label))[1]
        expected += probabilities[:, label, None, None] * signal[:, :, None] * signal[:, None]
    signals = likelihood.expected_signals(logits, slice(0, 5))
    found = torch.einsum("rckb,rdkb->rcdb", signals, signals)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 if dtype == torch.float32 else 1e-14)


def test_labels_are_drawn_from_the_model() -> None:
    logits = torch.tensor([0.1, -1.0, -torch.inf, 2.0])[:, None].expand(1, 4, 200_000)
    labels = Categorical().draw(logits, torch.rand(1, 200_000, generator=torch.Generator().manual_seed(0)))
    shares = torch.bincount(labels.flatten(), minlength=4) / 200_000
    # Four standard errors of a share are below 0.0045 with so many draws.
    torch.testing.assert_close(shares, torch.softmax(logits[0, :, 0], 0), atol=0.0045, rtol=0)
    assert shares[2] == 0


def test_the_largest_draw_is_the_last_possible_class() -> None:
    logits = torch.tensor([[[0.5], [0.1], [-torch.inf]]])
    assert Categorical().draw(logits, torch.tensor([[1 - 2**-24]])).item() == 1
    assert Categorical().draw(torch.tensor([[[-torch.inf], [0.0]]]), torch.tensor([[0.0]])).item() == 1


def test_score_is_accuracy() -> None:
    logits = torch.tensor([[[0.1, 0.8], [0.9, 0.2]]])
    assert Categorical().score(logits, torch.tensor([[1, 1]])).tolist() == [[1.0, 0.0]]


def test_gaussian_loss_and_signal_equal_autograd() -> None:
    outputs = torch.randn(2, 1, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.randn(2, 5, dtype=torch.float64)
    loss, signal = Gaussian().loss_and_signal(outputs.detach(), labels)
    normal = torch.distributions.Normal(outputs[:, 0], 1.0)
    expected = -normal.log_prob(labels) - 0.5 * math.log(2 * math.pi)
    expected.sum().backward()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(signal, outputs.grad)
    torch.testing.assert_close(Gaussian().score(outputs.detach(), labels), 2 * loss)


def test_gaussian_labels_have_the_output_as_mean_and_unit_variance() -> None:
    uniforms = torch.rand(1, 200_000, generator=torch.Generator().manual_seed(0))
    labels = Gaussian().draw(torch.full((1, 1, 200_000), 3.0), uniforms)
    assert abs(labels.mean() - 3) < 4 / 200_000**0.5
    assert abs(labels.var() - 1) < 4 * (2 / 200_000) ** 0.5
    ends = Gaussian().draw(torch.zeros(1, 1, 2), torch.tensor([[0.0, 1 - 2**-24]]))
    assert torch.isfinite(ends).all()


def test_gaussian_expected_signal_is_the_expectation_over_labels() -> None:
    outputs = torch.randn(2, 1, 4)
    signals = Gaussian().expected_signals(outputs, slice(0, 1))
    assert signals.shape == (2, 1, Gaussian().rank(slice(0, 1)), 4)
    # E over y of (f − y)², the squared derivative, is the variance.
    assert torch.equal(signals.square().sum(2), torch.ones(2, 1, 4))
