"""What a benchmark's outputs mean: loss, its derivative, score, and the signals of the Fisher information."""

from typing import Protocol

import torch
from torch import Tensor

from cl_runner.metrics import ScoreName


class Likelihood(Protocol):
    """p(y | outputs) of R networks on B samples; the outputs are `(..., C, B)`."""

    score_name: ScoreName

    def loss_and_signal(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """−log p of each sample `(..., B)` in nats, but for a constant, and its derivative by the outputs."""

    def score(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """What is called `score_name`, of each sample `(..., B)`."""

    def draw(self, outputs: Tensor, uniforms: Tensor) -> Tensor:
        """One label per sample from p, by inverting its distribution function at `uniforms` `(..., B)` in [0, 1)."""

    def rank(self, active: slice) -> int:
        """How many signals `expected_signals` gives where these outputs count."""

    def expected_signals(self, outputs: Tensor, active: slice) -> Tensor:
        """Signals `(R, C, rank, B)` whose squares sum to the expectation, over labels drawn from p, of the squared
        derivative of log p by the outputs `(R, C, B)`."""


class Categorical:
    """Classification: outputs are logits, the loss is cross-entropy in nats, the score accuracy.

    Classes come before samples, `(..., C, B)`. Classes that are not active have logit −inf: probability, derivative
    and Fisher information zero.
    """

    score_name: ScoreName = "accuracy"

    def loss_and_signal(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each sample `(..., B)` and its derivative by the logits `(..., C, B)`, softmax minus one-hot."""
        log_probabilities = torch.log_softmax(logits, -2)
        index = labels[..., None, :]
        loss = log_probabilities.gather(-2, index).neg_()
        signal = log_probabilities.exp_().scatter_add_(-2, index, loss.new_full((), -1.0).expand_as(index))
        return loss.squeeze(-2), signal

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """1.0 where the most probable class is the label, else 0.0, `(..., B)`."""
        return (logits.argmax(-2) == labels).to(logits.dtype)

    def draw(self, logits: Tensor, uniforms: Tensor) -> Tensor:
        """One label per sample from the model's distribution, by inverting its distribution function at
        `uniforms` `(..., B)` in [0, 1)."""
        cumulated = torch.softmax(logits, -2).cumsum(-2)
        # Scaled by the total, which rounding can leave below 1, so that no draw falls past the last class.
        return (cumulated <= uniforms[..., None, :] * cumulated[..., -1:, :]).sum(-2)

    def rank(self, active: slice) -> int:
        """One less than the number of classes, whose probabilities sum to 1."""
        return int(active.stop - active.start - 1)

    def expected_signals(self, logits: Tensor, active: slice) -> Tensor:
        """Signals whose squares sum to the expectation over the model's own labels.

        E over y of the squared derivative of log p(y) takes the covariance of the one-hot label, M = diag(p) − p pᵀ.
        With M = S Sᵀ the columns of S are the signals. M has rank K − 1 and a Cholesky factor in closed form
        (Tanabe & Sagae 1992, "An exact Cholesky decomposition of the multinomial covariance matrix"): with
        q_k = Σ_(j ≥ k) p_j, column k is √(p_k q_(k+1) / q_k) · (e_k − Σ_(j > k) p_j / q_(k+1) e_j). That is one
        signal less than one for each class, √p_c (e_c − p).

        Args:
            logits: `(R, C, B)`.
            active: the K active classes.

        Returns:
            `(R, C, K − 1, B)`.
        """
        probabilities = torch.softmax(logits, -2)[:, active]
        count = probabilities.shape[1]
        tails = probabilities.flip(1).cumsum(1).flip(1).clamp(min=torch.finfo(logits.dtype).tiny)
        own = (probabilities[:, :-1] * (tails[:, 1:] / tails[:, :-1])).sqrt()
        share = own / tails[:, 1:]
        later = torch.ones(count, count - 1, dtype=logits.dtype, device=logits.device).tril(-1)[..., None]
        signals = (probabilities[:, :, None] * later).mul_(-share[:, None])
        signals.diagonal(dim1=1, dim2=2).copy_(own.mT)
        return torch.nn.functional.pad(signals, (0, 0, 0, 0, active.start, logits.shape[1] - active.stop))


class Gaussian:
    """Regression: the one output is the mean of a normal distribution of unit variance, the score the squared error.

    The loss is ½ (y − f)², −log p in nats but for the constant ½ log 2π.
    """

    score_name: ScoreName = "mse"

    def loss_and_signal(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each sample `(..., B)` and its derivative by the outputs `(..., 1, B)`, f − y."""
        signal = outputs - labels[..., None, :]
        return 0.5 * signal.squeeze(-2).square(), signal

    def score(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """(f − y)², `(..., B)`."""
        return (outputs.squeeze(-2) - labels).square()

    def draw(self, outputs: Tensor, uniforms: Tensor) -> Tensor:
        """One value per sample, f plus the normal quantile of `uniforms` `(..., B)` in [0, 1)."""
        # The quantile of 0 is infinite.
        inside = uniforms.clamp(min=torch.finfo(uniforms.dtype).eps / 2)
        noise: Tensor = torch.special.ndtri(inside)
        return outputs.squeeze(-2) + noise

    def rank(self, active: slice) -> int:  # noqa: ARG002 # there is one
        """One signal, for one output."""
        return 1

    def expected_signals(self, outputs: Tensor, active: slice) -> Tensor:  # noqa: ARG002 # there is one
        """Ones, `(R, 1, 1, B)`: the expectation of (f − y)² is the variance."""
        return torch.ones_like(outputs)[:, :, None]
