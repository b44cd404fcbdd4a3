"""Small networks trained on three tasks of digits, without a directory: what `cl_runner.runs.contract` compares."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from cl_runner.benchmarks.base import make_benchmark
from cl_runner.config.plain_settings import checked_settings
from cl_runner.config.schema import Config
from cl_runner.engine.mlp import MLPStack
from cl_runner.engine.network import Network
from cl_runner.methods.method import Method, history
from cl_runner.runs.fisher import fisher_diagonals
from cl_runner.runs.rows import RunInStack, fanned_out, share_rows
from cl_runner.runs.training import Moment, train_task

# Where training stands: the stack, its method, and within a task the moment.
Point = tuple[Network, Method, Moment | None]


@dataclass(frozen=True)
class Snapshot:
    """Of one run: its parameters `(P,)` and what its parts have learned, by name."""

    tensors: Mapping[str, Tensor]

    def difference(self, other: "Snapshot") -> str:
        """In what they differ, and how much; empty if in nothing."""
        for name, mine in self.tensors.items():
            theirs = other.tensors.get(name)
            if theirs is None:
                return f"{name} is missing"
            if not torch.equal(mine, theirs):
                return f"{name} by up to {float((mine - theirs).abs().max()):.3g}"
        return next((f"{name} is missing" for name in other.tensors if name not in self.tensors), "")


def train(
    configs: Sequence[Config],
    past: Callable[[Config, int], Any] = history,
    watch: Callable[[Method], None] = lambda _: None,
    taken: Callable[[int, Network, Method, Moment | None], Point] | None = None,
    *,
    remade: bool = True,
) -> list[list[Snapshot]]:
    """Train a stack; gives of each run a snapshot after each task, before its `end` is called.

    Args:
        configs: of the runs.
        past: what says which runs share a row.
        watch: is given the method before each task.
        taken: is told where training stands before each task and after each step, and may have it go on from there
            with another stack.
        remade: whether parts are made anew after each task and take over the state, as runs do that part; else they
            stay the objects that they are.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    runs = [RunInStack(config, cast(Any, None), None) for config in configs]
    runs.sort(key=lambda run: run.config.seed)
    common = configs[0]
    benchmark = make_benchmark(common.benchmark, common.data_dir, sorted({config.seed for config in configs}), "cpu")
    heads = share_rows(runs, 0, past)
    sizes = [math.prod(benchmark.input_shape), *common.model.hidden, benchmark.outputs]
    stack: Network = MLPStack(sizes, common.model.activation, [run.config.seed for run in heads])
    method = Method(stack, [run.config for run in heads])
    snapshots: dict[int, list[Snapshot]] = {id(config): [] for config in configs}
    for task in range(common.benchmark.tasks):
        moment: Moment | None = None
        finished = False
        while not finished:
            if taken:
                stack, method, moment = taken(task, stack, method, moment)
            watch(method)
            training = train_task(
                stack,
                method,
                benchmark,
                task,
                [task],
                common.train,
                moment=moment,
                pause=lambda: taken is not None,
            )
            finished = True
            for reached in training:
                if isinstance(reached, Moment):
                    moment, finished = reached, False
                    break
        for run in runs:
            snapshots[id(run.config)].append(snapshot(stack, method, run.row, run.config))
        if task + 1 < common.benchmark.tasks:
            wanted = [(run.row, run.config.fisher) for run in runs]
            layout, fisher, fisher_rows = fisher_diagonals(stack, benchmark, task, wanted)
            for run, row in zip(runs, fisher_rows, strict=True):
                run.fisher_row = row
            if remade:
                stack, method, _ = fanned_out(runs, task + 1, stack, method, layout, fisher, past)
            else:
                method.end(task, fisher, common.benchmark.outputs_of(task + 1))
    return [snapshots[id(config)] for config in configs]


def snapshot(stack: Network, method: Method, row: int, config: Config) -> Snapshot:
    """Of a run, whose row may be that of another one, and have no part that has learned nothing yet."""
    new = Method(stack.fan_out([row], [config.seed]), [config]).state_of(0)
    learned = method.state_of(row)
    own = {name: learned.get(name, tensor) for name, tensor in new.items()}
    return Snapshot({"parameters": stack.layout.vector(stack.parameters, row), **own})


def trial_config(
    benchmark: Mapping[str, Any], method: Mapping[str, Any], estimator: str = "exact", seed: int = 0
) -> Config:
    """The settings of a run of a trial, with what `benchmark` and `method` say of them."""
    plain = {"joint": False, "update": "sum", "gamma": 1.0, "alpha": 0.5, "mask_source": "sum", "unit": "parameter"}
    samples = {"train_samples": 100, "test_samples": 10}
    return checked_settings(
        {
            "benchmark": {
                "dataset": "digits",
                "tasks": 3,
                "class_order": "fixed",
                "normalize": True,
                **samples,
                **benchmark,
            },
            "model": {"name": "contract", "hidden": [9, 7], "activation": "relu"},
            "train": {
                "epochs": 2,
                "first_epochs": None,
                "iterations": None,
                "patience": None,
                "batch_size": 32,
                "optimizer": "adam",
                "learning_rate": 0.01,
                "momentum": 0.0,
                "weight_decay": 0.0,
                "curve_points": 1,
            },
            "fisher": {"estimator": estimator, "samples": 32, "batch_size": None},
            "method": {**plain, "soft": False, **deepcopy(dict(method))},
            "checkpoint": {"minutes": 0.0},
            "data_dir": "data",
            "freeze": 0.5 if method["mask"] != "none" else 0.0,
            "seed": seed,
            "device": "cpu",
            "plots": "none",
            "threads": 1,
        }
    )
