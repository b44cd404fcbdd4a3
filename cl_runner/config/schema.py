"""The settings of a run, one dataclass per Hydra group.

Values stand in ``conf/*.yaml`` only; here are names, types and what is allowed. What a field allows is data
(`cl_runner.config.allowed`), from which both checks and messages are made (`cl_runner.config.ranges`,
`cl_runner.config.descriptions`). A setting that came after version 0.1 says what runs had `before` it, so that older
runs can be read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple, get_type_hints

from cl_runner.config.allowed import Choice, DottedName, EachOf, PlainData, Range, WordOrClasses

# Upper ends that no run comes near: what is above is a slip, and would end in want of memory or time, or in overflow.
_MANY = 10_000_000
_STEPS = 1_000_000_000
# Single precision ends at 3e38.
_STRENGTH = 1e30
_YEAR = 525_600


def _one_of(*options: str) -> dict[str, Any]:
    return {"allowed": Choice(options)}


def _within(low: float, high: float, *, open_low: bool = False, open_high: bool = False) -> dict[str, Any]:
    return {"allowed": Range(low, high, open_low, open_high)}


def _before(value: Any) -> dict[str, Any]:
    """What runs had that were recorded before there was such a setting: `metadata=_one_of("a", "b") | _before("a")`."""
    return {"before": value}


@dataclass
class BenchmarkConfig:
    """A sequence of tasks made from one dataset, or from a curve.

    What is null and `filled` is what the data say (`cl_runner.config.data`), and recorded so.
    """

    name: str
    family: str = field(metadata=_one_of("permuted", "split", "rotated", "given", "regression", "own"))
    dataset: str = field(metadata=_one_of("digits", "mnist", "fashion_mnist", "kmnist", "curve", "arrays", "own"))
    path: str | None = field(metadata={"words": "a path to an npz file"} | _before(None))
    target: str | None = field(metadata={"allowed": DottedName()} | _before(None))
    arguments: dict[str, Any] = field(metadata={"allowed": PlainData()} | _before({}))
    sha256: str | None = field(metadata={"words": "the SHA-256 of that file"} | _before(None))
    input_shape: list[int] | None = field(metadata={"allowed": EachOf(Range(1, _MANY))} | _before(None))
    tasks: int = field(metadata=_within(1, 10_000))
    classes_per_task: int | None = field(metadata=_within(1, _MANY) | {"filled": True})
    scenario: str = field(metadata=_one_of("domain", "task", "class"))
    class_order: Any = field(metadata={"allowed": WordOrClasses(("seed", "fixed"))} | _before("seed"))
    angles: str = field(metadata=_one_of("equal", "random") | _before("equal"))
    max_angle: float = field(metadata=_within(0, 360, open_low=True) | _before(180.0))
    normalize: bool
    train_samples: int | None = field(metadata=_within(1, _MANY))
    test_samples: int | None = field(metadata=_within(1, _MANY))
    validation: float | None = field(metadata=_within(0, 1, open_low=True, open_high=True) | _before(None))

    @property
    def classes(self) -> int:
        """Of each task; 1 where an output is a value."""
        assert self.classes_per_task is not None, "it is filled in"
        return self.classes_per_task

    def outputs_of(self, tasks: int) -> int:
        """How many outputs, the first ones, belong to the first so many tasks: all where tasks share a head."""
        return self.classes * (1 if self.scenario == "domain" else tasks)


@dataclass
class ModelConfig:
    """A multilayer perceptron, or a module of one's own, which `target` gives when it is called with `arguments`."""

    name: str
    kind: str = field(metadata=_one_of("mlp", "module") | _before("mlp"))
    target: str | None = field(metadata={"allowed": DottedName()} | _before(None))
    arguments: dict[str, Any] = field(metadata={"allowed": PlainData()} | _before({}))
    hidden: list[int] = field(metadata={"allowed": EachOf(Range(1, 16384))})
    activation: str = field(metadata=_one_of("relu", "sigmoid", "tanh"))
    dropout: float = field(metadata=_within(0, 1, open_high=True) | _before(0.0))


class Rates(NamedTuple):
    """What the optimiser takes in a task, and the rows of a stack need not have in common."""

    learning_rate: float
    momentum: float
    weight_decay: float


@dataclass
class TrainConfig:
    """How each task is trained; exactly one of `epochs` and `iterations` is set."""

    epochs: int | None = field(metadata=_within(1, _MANY))
    first_epochs: int | None = field(metadata=_within(1, _MANY))
    iterations: int | None = field(metadata=_within(1, _STEPS))
    patience: int | None = field(metadata=_within(1, _MANY) | _before(None))
    batch_size: int | None = field(metadata=_within(1, _MANY))
    optimizer: str = field(metadata=_one_of("adam", "sgd"))
    learning_rate: float = field(metadata=_within(0, _STRENGTH, open_low=True))
    task_decay: float = field(metadata=_within(0, 1, open_low=True) | _before(1.0))
    momentum: float = field(metadata=_within(0, 1, open_high=True))
    weight_decay: float = field(metadata=_within(0, _STRENGTH))
    keep_optimizer: bool = field(metadata=_before(False))
    curve_points: int = field(metadata=_within(1, _MANY))

    def rates(self, task: int) -> Rates:
        """Of a task, from 0."""
        return Rates(decayed(self.learning_rate, self.task_decay, task), self.momentum, self.weight_decay)


def decayed(learning_rate: float, task_decay: float, task: int) -> float:
    """The learning rate of a task, from 0."""
    return learning_rate * task_decay**task


@dataclass
class FisherConfig:
    """How the diagonal of the Fisher information matrix is estimated after each task."""

    estimator: str = field(metadata=_one_of("exact", "sampled", "empirical", "batched"))
    samples: int | None = field(metadata=_within(1, _MANY))
    batch_size: int | None = field(metadata=_within(1, _MANY))


@dataclass
class MethodConfig:
    """Parts of a method: a quadratic penalty, a gradient mask, an L1 proximal step."""

    name: str
    joint: bool
    penalty: str = field(metadata=_one_of("none", "l2", "ewc", "online_ewc"))
    ewc_lambda: float = field(metadata=_within(0, _STRENGTH))
    update: str = field(metadata=_one_of("sum", "average"))
    gamma: float = field(metadata=_within(0, 1))
    alpha: float = field(metadata=_within(0, 1))
    mask: str = field(metadata=_one_of("none", "global", "layerwise"))
    mask_source: str = field(metadata=_one_of("latest", "sum", "max", "union"))
    unit: str = field(metadata=_one_of("parameter", "neuron"))
    soft: bool
    unused: str = field(metadata=_one_of("free", "counted") | _before("counted"))
    l1_lambda: float = field(metadata=_within(0, _STRENGTH))
    parts: dict[str, Any] = field(
        metadata=_before({})
        | {"words": "parts of one's own by name, as in {si: {_target_: mine.si.SynapticIntelligence}}"}
    )


@dataclass
class CheckpointConfig:
    """When the state of an unfinished run is saved, besides after each task."""

    minutes: float = field(metadata=_within(0, _YEAR))


@dataclass
class Config:
    """All settings of one run."""

    benchmark: BenchmarkConfig
    model: ModelConfig
    train: TrainConfig
    fisher: FisherConfig
    method: MethodConfig
    checkpoint: CheckpointConfig
    data_dir: str
    freeze: float = field(metadata=_within(0, 1))
    seed: int = field(metadata=_within(0, 2**63 - 1))
    device: str = field(metadata=_one_of("auto", "cpu", "cuda", "mps"))
    plots: str = field(metadata=_one_of("auto", "all", "none"))
    save: str = field(metadata=_one_of("auto", "all", "last", "tables") | _before("all"))
    threads: int | None = field(metadata=_within(1, 1024))
    oversubscribe: bool = field(metadata=_before(False))
    objective: str = field(
        metadata=_one_of("average", "learning", "backward_transfer", "forward_transfer", "average_forgetting")
        | _before("average")
    )

    @property
    def sort_key(self) -> tuple[float, ...]:
        """What makes neighbours of runs that have most in common: the seed, by which they share samples, and rates, by
        which they share the tasks before their other settings make a difference.
        """
        return self.seed, *self.train.rates(0), self.train.task_decay, self.model.dropout

    def with_save(self, *, in_sweep: bool) -> "Config":
        """The same with `save` settled: of a run on its own `auto` is `all`, in a sweep it is `tables`."""
        return replace(self, save="tables" if in_sweep else "all") if self.save == "auto" else self


# What a run may be repeated or taken up again with and still count as the same.
INCIDENTAL = (
    "device",
    "threads",
    "oversubscribe",
    "data_dir",
    "benchmark.path",
    "plots",
    "save",
    "checkpoint.minutes",
    "objective",
)


def values_before(schema: type = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What runs had before there was a setting, by dotted key, of those settings that came later; nothing of an open
    mapping, which was empty."""
    hints = get_type_hints(schema)
    for item in fields(schema):
        if is_dataclass(hints[item.name]):
            yield from values_before(hints[item.name], f"{prefix}{item.name}.")
        elif item.metadata.get("before", {}) != {}:
            yield f"{prefix}{item.name}", item.metadata["before"]
