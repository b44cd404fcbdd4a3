"""What a benchmark's outputs mean: loss, its derivative, score, and the signals of the Fisher information."""

import torch
from torch import Tensor


class Categorical:
    """Classification: outputs are logits, the loss is cross-entropy in nats, the score accuracy.

    Classes come before samples, `(..., C, B)`. Classes that are not active have logit −inf: probability, derivative
    and Fisher information zero.
    """

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

    def expected_signals(self, logits: Tensor, classes: slice) -> Tensor:
        """Signals whose squares sum to the expectation over the model's own labels.

        E over y of the squared derivative of log p(y) takes the covariance of the one-hot label, M = diag(p) − p pᵀ.
        With M = S Sᵀ the columns of S are the signals. M has rank K − 1 and a Cholesky factor in closed form
        (Tanabe & Sagae 1992, "An exact Cholesky decomposition of the multinomial covariance matrix"): with
        q_k = Σ_(j ≥ k) p_j, column k is √(p_k q_(k+1) / q_k) · (e_k − Σ_(j > k) p_j / q_(k+1) e_j). That is one
        signal less than one for each class, √p_c (e_c − p).

        Args:
            logits: `(R, C, B)`.
            classes: the K active classes.

        Returns:
            `(R, C, K − 1, B)`.
        """
        probabilities = torch.softmax(logits, -2)[:, classes]
        count = probabilities.shape[1]
        tails = probabilities.flip(1).cumsum(1).flip(1).clamp(min=torch.finfo(logits.dtype).tiny)
        own = (probabilities[:, :-1] * (tails[:, 1:] / tails[:, :-1])).sqrt()
        share = own / tails[:, 1:]
        later = torch.ones(count, count - 1, dtype=logits.dtype, device=logits.device).tril(-1)[..., None]
        signals = (probabilities[:, :, None] * later).mul_(-share[:, None])
        signals.diagonal(dim1=1, dim2=2).copy_(own.mT)
        return torch.nn.functional.pad(signals, (0, 0, 0, 0, classes.start, logits.shape[1] - classes.stop))
