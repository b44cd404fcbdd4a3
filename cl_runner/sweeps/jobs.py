"""How the jobs of a sweep become stacks."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import pairwise
from pathlib import Path

from cl_runner.config.data import input_shape
from cl_runner.config.schema import Config
from cl_runner.results.files import position_of

# More networks in a stack gain nothing on a CPU: see docs/benchmarks.md.
_ENOUGH_ON_CPU = 32
# Buffers of all parameters that training and its methods hold at the same time, and float32 elements for samples.
_BUFFERS, _SAMPLE_ELEMENTS = 18, 2**22


@dataclass(frozen=True)
class Job:
    """A run of a sweep: its number there, its settings, where its results go, and the number of tasks `until` which it
    is trained for now; None: to its end.
    """

    number: int
    config: Config
    directory: Path
    until: int | None = None


def divided(
    jobs: Sequence[Job], size: int, workers: int, standing: Callable[[Path], Hashable] = position_of
) -> list[list[Job]]:
    """Divide jobs into stacks of at most `size`, equal for `workers` that each take one at a time.

    Jobs of a stack have in common all that shapes and training schedule depend on, and where they stand; neighbours as
    much else as can be.
    """
    schedules: dict[Hashable, list[Job]] = {}
    for job in sorted(jobs, key=lambda job: job.config.sort_key):
        # Runs go on together from where they stand, if they stand at the same point.
        schedules.setdefault((_schedule(job.config), standing(job.directory)), []).append(job)
    stacks = []
    for alike in schedules.values():
        count = workers * math.ceil(len(alike) / (workers * size))
        ends = [len(alike) * number // count for number in range(count + 1)]
        stacks += [alike[start:end] for start, end in pairwise(ends) if end > start]
    return sorted(stacks, key=len, reverse=True)


def largest_stack(config: Config, free_bytes: int, *, on_cpu: bool) -> int:
    """How many runs like this one fit into half of the free memory; on a CPU no more than pay off."""
    fitting = max(1, free_bytes // 2 // (4 * (_BUFFERS * _parameters(config) + _SAMPLE_ELEMENTS)))
    return min(fitting, _ENOUGH_ON_CPU) if on_cpu else fitting


def _parameters(config: Config) -> int:
    """Of one network."""
    benchmark = config.benchmark
    shape, outputs = input_shape(benchmark), benchmark.outputs_of(benchmark.tasks)
    if config.model.kind == "module":
        from cl_runner.engine.models import blueprint

        return sum(math.prod(shape) for layer in blueprint(config.model, shape, outputs).tensors for _, shape in layer)
    return sum(out * (into + 1) for into, out in pairwise([math.prod(shape), *config.model.hidden, outputs]))


def _schedule(config: Config) -> Hashable:
    """What the runs of a stack have in common."""
    benchmark = replace(config.benchmark, name="")
    train = replace(config.train, learning_rate=0.0, task_decay=1.0, momentum=0.0, weight_decay=0.0)
    parts = (benchmark, replace(config.model, name="", dropout=0.0), train)
    rest = (config.method.joint, config.device, config.threads, config.data_dir, config.plots)
    return *(str(astuple(part)) for part in parts), *rest
