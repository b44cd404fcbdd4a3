"""Synaptic Intelligence (Zenke, Poole & Ganguli 2017): parameters on which the loss came down are pulled back."""

from dataclasses import dataclass, field

import torch

from cl_runner.config.schema import Range
from cl_runner.methods.part import Part


@dataclass
class SISettings:
    """Both as in the paper's equations 4 and 5."""

    strength: float = field(default=3.0, metadata={"allowed": Range(0, 1e6)})  # c
    damping: float = field(default=0.1, metadata={"allowed": Range(0, 1e6, open_low=True)})  # ξ


class SynapticIntelligence(Part):
    """Penalty c Σ_i Ω_i (θ_i − θ*_i)², θ* being the parameters at the end of the task before."""

    Settings = SISettings

    @classmethod
    def uses_fisher(cls, settings):
        return False

    def setup(self):
        self.strength, self.damping = self.by_parameter("strength"), self.by_parameter("damping", 1.0)
        # Ω, ω and θ*; and θ before a step.
        self.importance, self.path = self.state.buffer("importance"), self.state.buffer("path")
        self.anchor, self.before = self.state.buffer("anchor"), self.state.buffer("before")
        self.gradient = torch.zeros_like(self.before)

    def begin(self, task):
        self.anchor.copy_(self.stack.parameters)
        self.path.zero_()

    def on_gradient(self):
        self.gradient.copy_(self.stack.gradient)
        self.before.copy_(self.stack.parameters)
        self.stack.gradient.addcmul_(self.strength * self.importance, self.before - self.anchor, value=2)

    def on_update(self):
        self.path.addcmul_(self.gradient, self.before - self.stack.parameters)

    def end(self, task, fisher, used):
        drift = self.stack.parameters - self.anchor
        self.importance += self.path.clamp(min=0) / (drift.square() + self.damping)
