"""Measure sweeps: the launchers against each other, and how the stacked one grows.

    uv run --group bench scripts/benchmark_sweeps.py --data-dir DIR [--only digits|mnist|growth|cuda]

Each sweep is a process of its own, timed from start to end. Its 32 runs are 8 freeze ratios of `global_mask` for each
of 4 seeds. The floor is the time of all runs' floating-point operations in training, as if each run trained every task
by itself, at the rate of a large matrix product on one core measured before; "training" is the seconds that processes
spent in it, added up.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

import psutil
import torch
from benchmark import product_rate, training_operations

RATIOS = "0.1,0.2,0.3,0.4,0.5,0.6,0.8,0.9"
LAUNCHERS = {
    "default": [],
    "joblib, 2 processes": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "stacked": ["hydra/launcher=stacked"],
    "stacked, 1 process": ["hydra/launcher=stacked", "hydra.launcher.workers=1"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="data", help="where MNIST lies or is downloaded to")
    parser.add_argument("--only", choices=["digits", "mnist", "growth", "cuda"], help="one part alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {psutil.cpu_count()} cores")
    if arguments.only in (None, "digits"):
        # 5 tasks of 1,297 samples, 10 epochs each.
        compare("permuted_digits", [], 5 * 10 * 1297 * training_operations((64, 100, 100, 100, 10)))
    if arguments.only in (None, "mnist"):
        settings = ["benchmark=permuted_mnist", "benchmark.tasks=3", f"data_dir={Path(arguments.data_dir).resolve()}"]
        compare(
            "permuted_mnist, 3 tasks, 1 epoch", settings, 3 * 60_000 * training_operations((784, 100, 100, 100, 10))
        )
    if arguments.only in (None, "growth"):
        growth()
    if arguments.only == "cuda" or (arguments.only is None and torch.cuda.is_available()):
        many(arguments.data_dir, "cuda", lambdas=4, seeds=32)


def compare(name: str, settings: list[str], operations: int) -> None:
    """The launchers on 32 runs, each of so many floating-point operations in training."""
    floor = 32 * operations / product_rate()
    print(f"\n{name}, 32 runs; floor {floor:.1f} s")
    print(f"{'':22}{'seconds':>9}{'runs/min':>10}{'of default':>12}{'peak MiB':>10}{'training':>10}{'of floor':>10}")
    baseline = 0.0
    for launcher, options in LAUNCHERS.items():
        spent, memory, seconds = sweep([*options, *settings, f"freeze={RATIOS}", "seed=range(0,4)"])
        training = seconds["train"]
        baseline = baseline or spent
        print(
            f"{launcher:22}{spent:9.1f}{60 * 32 / spent:10.0f}{baseline / spent:12.2f}{memory:10.0f}"
            f"{training:10.1f}{training / floor:10.2f}",
            flush=True,
        )


def growth() -> None:
    """Stacked sweeps of more and more runs on digits."""
    print(f"\npermuted_digits, stacked\n{'runs':>6}{'seconds':>9}{'runs/min':>10}{'peak MiB':>10}")
    for ratios, seeds in ((1, 1), (1, 4), (4, 4), (8, 8), (16, 16)):
        freeze = ",".join(f"{0.05 * (number + 1):.2f}" for number in range(ratios))
        options = LAUNCHERS["stacked"]
        spent, memory, _ = sweep([*options, f"freeze={freeze}", f"seed=range(0,{seeds})"])
        print(f"{ratios * seeds:6}{spent:9.1f}{60 * ratios * seeds / spent:10.0f}{memory:10.0f}", flush=True)


def many(data_dir: str, device: str, lambdas: int, seeds: int) -> None:
    """Permuted MNIST, 3 tasks of 1 epoch: 8 freeze ratios for each strength of EWC and seed, on one device.

    The operations and bytes are those of the networks that were trained: one a seed in the first task. Bytes are what a
    step has to move at least: Adam reads four buffers of all parameters and writes three, the passes read the weights
    twice and write their gradient once.
    """
    runs, steps, sizes = 8 * lambdas * seeds, 3 * 469, (784, 100, 100, 100, 10)
    strengths = ",".join(str(10**power) for power in range(lambdas))
    settings = ["benchmark=permuted_mnist", "benchmark.tasks=3", f"data_dir={Path(data_dir).resolve()}"]
    options = [*LAUNCHERS["stacked"], *settings, f"device={device}", f"freeze={RATIOS}", f"seed=range(0,{seeds})"]
    spent, memory, seconds = sweep([*options, "method.penalty=ewc", f"method.ewc_lambda={strengths}"])
    rows = (seeds + 2 * runs) / 3
    parameters = sum(out * (into + 1) for into, out in pairwise(sizes))
    operations = 3 * 60_000 * rows * training_operations(sizes)
    moved = steps * rows * parameters * 4 * (7 + 3)
    print(f"\npermuted_mnist, 3 tasks, 1 epoch, {runs} runs on {device}: {spent:.0f} s, peak {memory:.0f} MiB")
    print(json.dumps({phase: round(value, 1) for phase, value in seconds.items()}))
    print(
        f"training: {operations / 1e12:.1f} TFLOP at {operations / seconds['train'] / 1e12:.2f} TFLOP/s, at least "
        f"{moved / 1e9:.0f} GB at {moved / seconds['train'] / 1e9:.0f} GB/s, {operations / moved:.1f} FLOP a byte"
    )


def sweep(arguments: list[str]) -> tuple[float, float, dict[str, float]]:
    """Seconds of the process, peak memory in MiB of it and its children, and the seconds of its stacks by phase."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cl_runner", "-m", "method=global_mask", f"hydra.sweep.dir={folder}"]
        started = time.perf_counter()
        process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        peaks = [0.0]
        watching = threading.Thread(target=watch, args=(process, peaks))
        watching.start()
        error = process.communicate()[1]
        spent = time.perf_counter() - started
        watching.join()
        if process.returncode:
            raise SystemExit(f"{' '.join(arguments)} failed: {error}")
        facts = [json.loads(path.read_text()) for path in Path(folder).glob("*/run.json")]
        # The runs of a stack all hold the seconds of the stack.
        phases = facts[0]["seconds"]
        seconds = {phase: sum(found["seconds"][phase] / found["runs_in_stack"] for found in facts) for phase in phases}
    return spent, peaks[0], seconds


def watch(process: "subprocess.Popen[str]", peaks: list[float]) -> None:
    while process.poll() is None:
        memory = 0
        try:
            root = psutil.Process(process.pid)
            for part in (root, *root.children(recursive=True)):
                memory += part.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        peaks[0] = max(peaks[0], memory / 2**20)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
