"""Measure what comes before a sweep's training: composing its jobs, and finding them again once they are finished.

    uv run scripts/benchmark_composing.py [--jobs N] [--beside CHECKOUT]

Seconds are those of the processor, in this process: jobs are composed, with the files in their directories, but not
trained, and finished by metrics that are written here. With `--beside` another checkout of cl-runner does the same in
turn.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--beside", type=Path, help="another checkout, measured in turn")
    parser.add_argument("--once", action="store_true", help="measure the checkout of the working directory, once")
    arguments = parser.parse_args()
    if arguments.once:
        print(json.dumps(measured(arguments.jobs)))
        return
    checkouts = [Path(__file__).parents[1], *filter(None, [arguments.beside])]
    found: dict[Path, list[dict[str, float]]] = {checkout: [] for checkout in checkouts}
    for _ in range(ROUNDS):
        for checkout in checkouts:
            command = [sys.executable, str(Path(__file__).resolve()), "--once", "--jobs", str(arguments.jobs)]
            environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
            said = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, check=True).stdout
            found[checkout].append(json.loads(said))
    print(f"{arguments.jobs} jobs, ms of the processor a job, least of {ROUNDS}")
    for name in found[checkouts[0]][0]:
        values = [min(entry[name] for entry in found[checkout]) for checkout in checkouts]
        ratio = f"{values[1] / values[0]:8.1f} times" if len(values) > 1 else ""
        print(f"{name:12}" + "".join(f"{value:9.2f}" for value in values) + ratio)


def measured(jobs: int) -> dict[str, float]:
    """Milliseconds a job: composed at first, and found again as finished."""
    from hydra import initialize_config_dir
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import HydraContext, RunMode
    from rich.console import Console

    from cl_runner.config.presets import VERSION_BASE, config_dir
    from cl_runner.sweeps.prepare import Prepared
    from cl_runner.sweeps.progress import SweepProgress

    freeze, each = 20, -(-jobs // 20)
    overrides = [
        [f"method={method}", f"freeze={ratio / freeze}", f"seed={seed}"]
        for seed in range(each)
        for ratio in range(1, freeze // 2 + 1)
        for method in ("global_mask", "layerwise_mask")
    ][:jobs]
    with (
        tempfile.TemporaryDirectory() as folder,
        initialize_config_dir(str(config_dir()), **VERSION_BASE),
        Path(os.devnull).open("w") as nowhere,
    ):
        loader = GlobalHydra.instance().config_loader()
        given = ["hydra/launcher=stacked", f"hydra.sweep.dir={folder}"]
        sweep = loader.load_configuration("config", given, RunMode.MULTIRUN)
        context = HydraContext(loader, Callbacks())

        def prepare() -> tuple[Prepared, float]:
            with SweepProgress(Console(file=nowhere), jobs) as progress:
                started = time.process_time()
                prepared = Prepared(context, sweep, overrides, 0, progress)
                return prepared, 1000 * (time.process_time() - started) / jobs

        prepared, composed = prepare()
        for job in prepared.jobs:
            (job.directory / "metrics.json").write_text('{"average_accuracy": 0.5}\n')
        again, found = prepare()
        if again.jobs:
            raise SystemExit(f"{len(again.jobs)} finished jobs were not found again")
    return {"composed": composed, "found again": found}


if __name__ == "__main__":
    main()
