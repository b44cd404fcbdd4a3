"""A stack of networks that are any `torch.nn.Module`, by automatic differentiation.

On a GPU the networks are computed at once (`torch.vmap`). On a CPU they are computed one after the other, which for
convolutions is several times faster, and each is the same then as if it were alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vjp, vmap

from cl_runner.engine.network import Layout, Named, Pass, Streams
from cl_runner.engine.seeding import generator

# Elements of gradients by sample that are there at the same time.
_CHUNK = 2**22


class Blueprint:
    """What networks of a stack have in common.

    Args:
        make: gives a network whose weights are drawn from torch's own generator.
        input_shape: of a sample.

    Attributes:
        tensors: the parameters by layer: see `Layout`.
        widest: elements of the largest output of its modules for a sample.
    """

    def __init__(self, make: Callable[[], torch.nn.Module], input_shape: Sequence[int]) -> None:
        self._make, self.input_shape = make, tuple(input_shape)
        module = self.drawn(0)
        self.tensors = layers_of(module)
        self.widest = _widest(module, torch.zeros(1, *input_shape))

    def drawn(self, seed: int, task: int = 0) -> torch.nn.Module:
        """A network with the weights that a run of this seed has before `task`, from 0."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(generator(seed, "weights", task).initial_seed())
            return self._make()


def layers_of(module: torch.nn.Module) -> tuple[tuple[Named, ...], ...]:
    """The parameters of a module by layer, a layer being a module that has some of its own, in the order of
    `named_parameters`. Where they differ in their first axis, of neurons, each is a layer by itself.
    """
    layers: list[tuple[Named, ...]] = []
    for prefix, part in module.named_modules():
        own = [
            Named(f"{prefix}.{name}" if prefix else name, tuple(parameter.shape))
            for name, parameter in part.named_parameters(recurse=False)
        ]
        alike = len({tensor.shape[0] for tensor in own}) == 1
        layers += [tuple(own)] if alike else [(tensor,) for tensor in own]
    return tuple(layers)


def _widest(module: torch.nn.Module, sample: Tensor) -> int:
    sizes = [1]

    def measure(_: torch.nn.Module, __: object, output: object) -> None:
        sizes.extend(
            part.numel() for part in (output if isinstance(output, tuple) else [output]) if isinstance(part, Tensor)
        )

    handle = torch.nn.modules.module.register_module_forward_hook(measure)
    try:
        with torch.no_grad():
            module(sample)
    finally:
        handle.remove()
    return max(sizes)


class ModuleStack(Streams):
    """R networks of one blueprint.

    Args:
        blueprint: makes them.
        seeds: of the runs, R of them; `streams` are the distinct ones, in order.
        parameters: a buffer `(R·P,)` to start from; None to draw the initial weights.
        device, dtype: of the parameters.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        seeds: Sequence[int],
        *,
        parameters: Tensor | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(seeds, torch.device(device) if parameters is None else parameters.device)
        self.layout = Layout(blueprint.tensors, len(seeds))
        fresh = torch.zeros(self.layout.numel, device=device, dtype=dtype) if parameters is None else parameters
        self.parameters: Tensor = fresh
        self.gradient = torch.zeros_like(self.parameters)
        self.hidden = 0
        self._blueprint = blueprint
        # Its own parameters are never used, but its buffers are, which all networks have in common.
        self._module = blueprint.drawn(0).to(self.parameters.device, self.parameters.dtype)
        self._weights, self._gradients = map(self.layout.stacked, (self.parameters, self.gradient))
        if parameters is None:
            self.initialise()

    @property
    def _at_once(self) -> bool:
        return self.parameters.is_cuda

    def initialise(self, task: int = 0) -> None:
        """Draw all parameters as the module itself does. The draw depends on the run's seed and on `task`, the task
        before which it is made.
        """
        for stream, seed in enumerate(self.streams):
            drawn = dict(self._blueprint.drawn(seed, task).named_parameters())
            for name, weights in self._weights.items():
                weights[self.of_row == stream] = drawn[name].detach().to(weights)

    def fan_out(self, rows: Sequence[int], seeds: Sequence[int]) -> "ModuleStack":
        """A stack of copies of the networks `rows`, which may repeat, for runs of these seeds."""
        return ModuleStack(self._blueprint, seeds, parameters=self.layout.select(self.parameters, rows))

    def widest(self, signals: int = 1) -> int:  # noqa: ARG002 (what they give rise to comes in chunks of its own)
        """Elements of the largest output of a module."""
        return self._blueprint.widest

    def forward(self, inputs: Tensor, scales: Tensor | None = None) -> Pass:  # noqa: ARG002 (of no unit)
        """The outputs on inputs of the streams, `(S, D, B)`. What is kept is each network's samples,
        `(R, B, *input_shape)`, and the function that back-propagates.
        """
        samples = self.per_row(inputs.mT.reshape(inputs.shape[0], -1, *self._blueprint.input_shape))

        def outputs(weights: dict[str, Tensor]) -> Tensor:
            return self._over_rows(lambda *one: (self._outputs(*one),), weights, samples)[0]

        found, back, *_ = vjp(outputs, self._weights)
        return Pass(found.mT.contiguous(), (samples, back))

    @torch.no_grad()
    def backward(self, forward: Pass, signal: Tensor) -> None:
        """Set `gradient` to the gradient of a loss with `signal` `(R, out, B)` = d loss / d outputs."""
        _, back = forward.kept
        for name, gradient in back(signal.mT)[0].items():
            self._gradients[name].copy_(gradient)

    @torch.no_grad()
    def add_squared_gradients(self, total: Tensor, forward: Pass, signals: Tensor) -> None:
        """As `Network.add_squared_gradients`, some samples at a time."""
        samples, _ = forward.kept
        by_sample = signals.permute(0, 3, 2, 1)
        at_once = self.layout.rows if self._at_once else 1
        size = max(1, _CHUNK // (at_once * self.layout.per_row * signals.shape[2]))
        for some, their_signals in zip(samples.split(size, 1), by_sample.split(size, 1), strict=True):
            squares = self._over_rows(vmap(self._squares, (None, 0, 0)), self._weights, some, their_signals)
            for target, found in zip(self.layout.stacked(total).values(), squares, strict=True):
                target.add_(found.sum(1))

    def _outputs(self, weights: dict[str, Tensor], samples: Tensor) -> Tensor:
        """Of one network, `(B, C)`."""
        found: Tensor = functional_call(self._module, weights, (samples,))
        return found

    def _squares(self, weights: dict[str, Tensor], sample: Tensor, signals: Tensor) -> tuple[Tensor, ...]:
        """Sum of the squared gradients of one network on one sample for its signals `(K, C)`, a tensor for each of its
        own.
        """
        _, back, *_ = vjp(lambda weights: self._outputs(weights, sample[None])[0], weights)
        (gradients,) = vmap(back)(signals)
        return tuple(gradient.square().sum(0) for gradient in gradients.values())

    def _over_rows(
        self, function: Callable[..., tuple[Tensor, ...]], weights: dict[str, Tensor], *others: Tensor
    ) -> tuple[Tensor, ...]:
        """What a function of one network's weights, and of its share of other tensors, gives for each, stacked."""
        if self._at_once:
            found: Any = vmap(function)(weights, *others)
            return tuple(found)
        rows = zip(zip(*(part.unbind() for part in weights.values()), strict=True), *others, strict=True)
        each = [function(dict(zip(weights, own, strict=True)), *shares) for own, *shares in rows]
        return tuple(map(torch.stack, zip(*each, strict=True)))
