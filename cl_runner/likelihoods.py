"""What a benchmark's outputs mean: loss, its derivative, score, and the signals of the Fisher information."""

import torch
from torch import Tensor


class Categorical:
    """Classification: outputs are logits, the loss is cross-entropy in nats, the score accuracy.

    Classes that are not active have logit −inf: probability, derivative and Fisher information zero.
    """

    def loss_and_signal(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each sample `(...)` and its derivative by the logits `(..., C)`, softmax minus one-hot."""
        # Over a strided dimension it is several times faster on a CPU than over a short contiguous one.
        log_probabilities = torch.log_softmax(logits.mT.contiguous(), -2).mT
        index = labels[..., None]
        loss = log_probabilities.gather(-1, index).neg_()
        signal = log_probabilities.exp_().scatter_add_(-1, index, loss.new_full((), -1.0).expand_as(index))
        return loss.squeeze(-1), signal

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """1.0 where the most probable class is the label, else 0.0, `(...)`."""
        return (logits.argmax(-1) == labels).to(logits.dtype)

    def draw(self, logits: Tensor, uniforms: Tensor) -> Tensor:
        """One label per sample from the model's distribution, by inverting its distribution function at
        `uniforms` `(...)` in [0, 1)."""
        cumulated = torch.softmax(logits, -1).cumsum(-1)
        # Scaled by the total, which rounding can leave below 1, so that no draw falls past the last class.
        return (cumulated <= uniforms[..., None] * cumulated[..., -1:]).sum(-1)

    def expected_signals(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Signals whose squares sum to the expectation over the model's own labels.

        E over y of (d log p(y) / d logits)² is the sum over classes c of p_c (p − e_c)², so the signals
        are √p_c (p − e_c).

        Args:
            logits: `(R, B, C)`.
            classes: the K active classes, `(K,)`.

        Returns:
            `(R, K, B, C)`.
        """
        probabilities = torch.softmax(logits, -1)
        one_hot = torch.eye(logits.shape[-1], dtype=logits.dtype, device=logits.device)[classes]
        weight = probabilities[..., classes].mT.sqrt()
        return (probabilities[:, None] - one_hot[None, :, None]).mul_(weight[..., None])
