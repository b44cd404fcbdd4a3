"""The settings of a run, one dataclass per Hydra group.

Values stand in ``conf/*.yaml`` only; here are names, types and what is allowed. What a field allows is
data (`Choice`, `Range`), from which `cl_runner.checks` makes both the check and its message. A setting that came after
version 0.1 says what runs had `before` it, so that older runs can be read.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, get_type_hints


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    options: tuple[str, ...]

    def allows(self, value: Any) -> bool:
        """Whether `value` is allowed."""
        return value in self.options

    def __str__(self) -> str:
        return "one of " + ", ".join(self.options)


@dataclass(frozen=True)
class Range:
    """A finite number between two ends; an open end is itself excluded."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def allows(self, value: Any) -> bool:
        """Whether `value` is allowed."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        high = f"below {self.high:g}" if self.open_high else f"{self.high:g}"
        return f"from {self.low:g} to {high}"


@dataclass(frozen=True)
class EachOf:
    """A list of at least one entry, each allowed by `entry`."""

    entry: Range

    def allows(self, value: Sequence[Any]) -> bool:
        """Whether `value` is allowed."""
        return len(value) > 0 and all(self.entry.allows(item) for item in value)

    def __str__(self) -> str:
        return f"with at least one entry, each {self.entry}"


@dataclass(frozen=True)
class WordOrClasses:
    """One of a few words, or a list of distinct classes; OmegaConf has no type for that, so all is checked here."""

    words: tuple[str, ...]

    def allows(self, value: Any) -> bool:
        """Whether `value` is allowed."""
        if isinstance(value, str) or not isinstance(value, Sequence):
            return value in self.words
        whole = all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in value)
        return whole and 0 < len(value) == len(set(value))

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}, or a list of distinct classes, as in [3,1,4,0]"


def _one_of(*options: str) -> dict[str, Any]:
    return {"allowed": Choice(options)}


def _within(low: float, high: float = math.inf, *, open_low: bool = False, open_high: bool = False) -> dict[str, Any]:
    return {"allowed": Range(low, high, open_low, open_high)}


def _before(value: Any) -> dict[str, Any]:
    """What runs had that were recorded before there was such a setting: `metadata=_one_of("a", "b") | _before("a")`."""
    return {"before": value}


@dataclass
class BenchmarkConfig:
    """A sequence of tasks made from one dataset, or from a curve."""

    name: str
    family: str = field(metadata=_one_of("permuted", "split", "rotated", "regression"))
    dataset: str = field(metadata=_one_of("digits", "mnist", "fashion_mnist", "kmnist", "curve"))
    tasks: int = field(metadata=_within(1))
    classes_per_task: int = field(metadata=_within(1, 10))
    scenario: str = field(metadata=_one_of("domain", "task", "class"))
    class_order: Any = field(metadata={"allowed": WordOrClasses(("seed", "fixed"))} | _before("seed"))
    angles: str = field(metadata=_one_of("equal", "random") | _before("equal"))
    max_angle: float = field(metadata=_within(0, 360, open_low=True) | _before(180.0))
    normalize: bool
    train_samples: int | None = field(metadata=_within(10))
    test_samples: int | None = field(metadata=_within(10))

    def outputs_of(self, tasks: int) -> int:
        """How many outputs, the first ones, belong to the first so many tasks: all where tasks share a head."""
        return self.classes_per_task * (1 if self.scenario == "domain" else tasks)


@dataclass
class ModelConfig:
    """A multilayer perceptron."""

    name: str
    hidden: list[int] = field(metadata={"allowed": EachOf(Range(1, 16384))})
    activation: str = field(metadata=_one_of("relu", "sigmoid", "tanh"))


@dataclass
class TrainConfig:
    """How each task is trained; exactly one of `epochs` and `iterations` is set."""

    epochs: int | None = field(metadata=_within(1))
    first_epochs: int | None = field(metadata=_within(1))
    iterations: int | None = field(metadata=_within(1))
    batch_size: int | None = field(metadata=_within(1))
    optimizer: str = field(metadata=_one_of("adam", "sgd"))
    learning_rate: float = field(metadata=_within(0, open_low=True))
    momentum: float = field(metadata=_within(0, 1, open_high=True))
    weight_decay: float = field(metadata=_within(0))
    curve_points: int = field(metadata=_within(1))


@dataclass
class FisherConfig:
    """How the diagonal of the Fisher information matrix is estimated after each task."""

    estimator: str = field(metadata=_one_of("exact", "sampled", "empirical", "batched"))
    samples: int | None = field(metadata=_within(1))
    batch_size: int | None = field(metadata=_within(1))


@dataclass
class MethodConfig:
    """Parts of a method: a quadratic penalty, a gradient mask, an L1 proximal step."""

    name: str
    joint: bool
    penalty: str = field(metadata=_one_of("none", "l2", "ewc", "online_ewc"))
    ewc_lambda: float = field(metadata=_within(0))
    update: str = field(metadata=_one_of("sum", "average"))
    gamma: float = field(metadata=_within(0, 1))
    alpha: float = field(metadata=_within(0, 1))
    mask: str = field(metadata=_one_of("none", "global", "layerwise"))
    mask_source: str = field(metadata=_one_of("latest", "sum", "max", "union"))
    unit: str = field(metadata=_one_of("parameter", "neuron"))
    soft: bool
    unused: str = field(metadata=_one_of("free", "counted") | _before("counted"))
    l1_lambda: float = field(metadata=_within(0))


@dataclass
class CheckpointConfig:
    """When the state of an unfinished run is saved, besides after each task."""

    minutes: float = field(metadata=_within(0))


@dataclass
class StackedLauncherConfig:
    """How `hydra/launcher=stacked` computes a sweep."""

    _target_: str
    size: int | None = field(metadata=_within(1))
    workers: int | None = field(metadata=_within(1, 1024))


@dataclass
class SlurmLocalLauncherConfig:
    """How `hydra/launcher=slurm_local` submits the stacks of a sweep; the names are submitit's, but for the first."""

    _target_: str
    size: int | None = field(metadata=_within(1))
    wait: bool
    array_parallelism: int | None = field(metadata=_within(1))
    timeout_min: int = field(metadata=_within(1))
    signal_delay_s: int = field(metadata=_within(0))
    gpus_per_node: int | None = field(metadata=_within(0))
    setup: list[str]


@dataclass
class SlurmLauncherConfig(SlurmLocalLauncherConfig):
    """How `hydra/launcher=slurm` submits them; null leaves a setting to the site."""

    name: str
    partition: str | None
    qos: str | None
    account: str | None
    constraint: str | None
    exclude: str | None
    gres: str | None
    cpus_per_task: int | None = field(metadata=_within(1))
    mem_gb: float | None = field(metadata=_within(0, open_low=True))
    max_num_timeout: int = field(metadata=_within(0))
    additional_parameters: list[str]


# By the name of the class that Hydra makes of each.
LAUNCHERS = {
    "StackedLauncher": StackedLauncherConfig,
    "SlurmLauncher": SlurmLauncherConfig,
    "SlurmLocalLauncher": SlurmLocalLauncherConfig,
}


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
    threads: int | None = field(metadata=_within(1, 1024))


# What a run may be repeated or taken up again with and still count as the same.
INCIDENTAL = ("device", "threads", "data_dir", "plots", "checkpoint.minutes")


def values_before(schema: type = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What runs had before there was a setting, by dotted key, of those settings that came later."""
    hints = get_type_hints(schema)
    for item in fields(schema):
        if is_dataclass(hints[item.name]):
            yield from values_before(hints[item.name], f"{prefix}{item.name}.")
        elif "before" in item.metadata:
            yield f"{prefix}{item.name}", item.metadata["before"]
