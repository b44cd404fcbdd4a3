"""Measure the runner's speed on MNIST: training, Fisher information, evaluation and a whole run.

    uv run scripts/benchmark.py --data-dir DIR [--threads N] [--repeats N]

Seconds depend on the machine and on who else uses it, so everything is set against something measured in the
same moment: an epoch against the time of its floating-point operations at the rate of a large matrix product,
the Fisher information against an epoch. A ratio is the median over `--repeats` pairs of measurements; "best"
is the ratio of the shortest times, which comes closest to what a machine of one's own would show.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch.func import functional_call, grad, vmap

from cl_runner.benchmarks.datasets import load_dataset
from cl_runner.benchmarks.images import ImageBenchmark
from cl_runner.config.presets import composed
from cl_runner.config.schema import Config, FisherConfig
from cl_runner.engine.mlp import MLPStack
from cl_runner.methods.method import Method
from cl_runner.results.run import load_run
from cl_runner.runs.checks import checked
from cl_runner.runs.evaluation import evaluate
from cl_runner.runs.fisher import fisher_diagonal
from cl_runner.runs.training import Epoch, train_task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="data", help="where MNIST lies or is downloaded to")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), median of {arguments.repeats}\n")
    compare_with_the_floor(arguments.data_dir, arguments.repeats)
    print()
    cost_of_many_tasks(arguments.data_dir, arguments.repeats)
    print()
    whole_process(arguments.data_dir, arguments.threads)


def compare_with_the_floor(data_dir: str, repeats: int) -> None:
    """An epoch on the second task (permuted) against its operations, and all else against the epoch."""
    config, benchmark, stack, method = set_up(data_dir, "method=finetune", "benchmark.tasks=2")
    frozen = set_up(data_dir, "method=global_mask", "benchmark.tasks=2")
    samples = len(benchmark.train.samples([0])[0])
    operations = samples * training_operations(stack.sizes)

    def epoch(stack: MLPStack, method: Method) -> None:
        for _ in train_task(stack, method, benchmark, 1, [1], config.train):
            pass

    def fisher(estimator: str) -> Callable[[], object]:
        return lambda: fisher_diagonal(stack, benchmark, 1, FisherConfig(estimator, None, 128))

    epoch(stack, method)
    frozen[3].end(0, fisher_diagonal(stack, benchmark, 1, config.fisher), benchmark.outputs)
    work = {
        "epoch of 60,000 samples": lambda: epoch(stack, method),
        "epoch with half the network frozen": lambda: epoch(frozen[2], frozen[3]),
        "Fisher, empirical, 60,000 samples": fisher("empirical"),
        "Fisher, exact (ten classes), 60,000 samples": fisher("exact"),
        "Fisher, sampled, 60,000 samples": fisher("sampled"),
        "test on 10,000 samples": lambda: evaluate(stack, benchmark, [1], 2),
    }
    names = ["floor: the epoch's operations", *work, "Fisher, per-sample autograd, from 2,000 samples"]
    rounds = []
    for _ in range(repeats):
        floor = operations / product_rate()
        spent = [seconds(job) for job in work.values()]
        rounds.append([floor, *spent, seconds(lambda: per_sample_fisher(stack, benchmark, 2000)) * samples / 2000])
    print(f"{'':52}{'seconds':>9}{'of floor':>10}{'best':>7}{'of epoch':>10}{'best':>7}")
    columns = list(zip(*rounds, strict=True))
    for name, column in zip(names, columns, strict=True):
        line = f"{name:52}{statistics.median(column):9.3f}"
        for other in columns[:2]:
            ratio = statistics.median(mine / theirs for mine, theirs in zip(column, other, strict=True))
            line += f"{ratio:10.2f}{min(column) / min(other):7.2f}"
        print(line)


def cost_of_many_tasks(data_dir: str, repeats: int) -> None:
    """Seconds of a training step with EWC after 2 and after 10 tasks."""
    settings = ["method=ewc", "benchmark.tasks=2", "train.epochs=null", "train.iterations=200"]
    config, benchmark, few, method_of_few = set_up(data_dir, *settings)
    _, _, many, method_of_many = set_up(data_dir, *settings)
    for stack, method, tasks in ((few, method_of_few, 2), (many, method_of_many, 10)):
        for task in range(tasks):
            method.end(task, torch.rand_like(stack.parameters) * 1e-3, benchmark.outputs)

    def steps(stack: MLPStack, method: Method) -> float:
        trained = train_task(stack, method, benchmark, 1, [1], config.train)
        return sum(epoch.seconds for epoch in trained if isinstance(epoch, Epoch)) / 200

    steps(few, method_of_few)
    pairs = [(steps(few, method_of_few), steps(many, method_of_many)) for _ in range(2 * repeats)]
    ratio = statistics.median(late / early for early, late in pairs)
    early, late = (1e6 * statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"EWC step after 2 tasks {early:.0f} µs, after 10 tasks {late:.0f} µs, ratio {ratio:.3f}")


def whole_process(data_dir: str, threads: int) -> None:
    """The command line on permuted MNIST, 3 tasks of 1 epoch, split by phase."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cl_runner", "method=layerwise_mask", "freeze=0.9", "benchmark=permuted_mnist"]
        command += ["benchmark.tasks=3", f"threads={threads}", f"data_dir={Path(data_dir).resolve()}"]
        spent = seconds(
            lambda: subprocess.run([*command, f"hydra.run.dir={folder}/run"], check=True, capture_output=True)
        )
        phases = load_run(Path(folder) / "run").facts["seconds"]
    computing = phases["train"] + phases["fisher"] + phases["evaluate"]
    print(f"cl-run, permuted_mnist, 3 tasks, 1 epoch: {spent:.1f} s, of these not computing {spent - computing:.1f} s")
    print(json.dumps(phases))


def set_up(data_dir: str, *overrides: str) -> tuple[Config, ImageBenchmark, MLPStack, Method]:
    config = checked(composed("benchmark=permuted_mnist", f"data_dir={data_dir}", *overrides))
    benchmark = ImageBenchmark(config.benchmark, load_dataset("mnist", data_dir), [0])
    stack = MLPStack(
        [math.prod(benchmark.input_shape), *config.model.hidden, benchmark.outputs], config.model.activation, [0]
    )
    return config, benchmark, stack, Method(stack, [config])


def training_operations(sizes: tuple[int, ...]) -> int:
    """Floating-point operations of a sample's forward and backward pass; the inputs need no gradient."""
    products = [into * out for into, out in pairwise(sizes)]
    return 2 * (3 * sum(products) - products[0])


def product_rate(size: int = 1024) -> float:
    """Floating-point operations a second of a large matrix product, the best of several."""
    left, right = torch.randn(2, size, size)
    return 2 * size**3 / min(seconds(lambda: left @ right) for _ in range(20))


def per_sample_fisher(stack: MLPStack, benchmark: ImageBenchmark, count: int) -> None:
    """The empirical Fisher diagonal by automatic differentiation of each sample's loss."""
    ids = benchmark.train.samples([1])[0][None, :count]
    inputs, labels = benchmark.train.inputs_of(ids, [1])[0].T, benchmark.train.labels_of(ids)[0]
    layers = [torch.nn.Linear(weight.shape[2], weight.shape[1]) for weight, _ in stack.layers]
    network = torch.nn.Sequential(*[module for layer in layers for module in (layer, torch.nn.ReLU())][:-1])
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def loss(values: dict[str, torch.Tensor], sample: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(functional_call(network, values, (sample,)), label)

    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    for sample, label in zip(inputs.split(100), labels.split(100), strict=True):
        for name, gradient in vmap(grad(loss), (None, 0, 0))(parameters, sample, label).items():
            total[name] += gradient.square().sum(0)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
