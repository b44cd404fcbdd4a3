"""What settings depend on of the data."""

from dataclasses import replace

from cl_runner.config.arrays import array_file
from cl_runner.config.datasets import DATASETS, DatasetInfo
from cl_runner.config.schema import BenchmarkConfig
from cl_runner.errors import ConfigError


def known_data(benchmark: BenchmarkConfig) -> DatasetInfo:
    """What is known of the data of a benchmark, which is not one's own.

    Raises:
        ConfigError: they are in no file, or in one that does not do.
    """
    if benchmark.dataset != "arrays":
        return DATASETS[benchmark.dataset]
    if benchmark.path is None:
        raise ConfigError("benchmark.path: got null with benchmark.dataset=arrays, allowed: an npz file")
    return array_file(benchmark.path).info


def input_shape(benchmark: BenchmarkConfig) -> tuple[int, ...]:
    """Of one sample, by settings that are filled in: (channels, height, width) of an image, or (D,)."""
    return tuple(benchmark.input_shape or DATASETS[benchmark.dataset].shape)


def filled(benchmark: BenchmarkConfig) -> BenchmarkConfig:
    """The settings with what the data say in place of null.

    Raises:
        ConfigError: as `known_data`, and for settings that say something else than the data.
    """
    if benchmark.dataset == "own":
        return benchmark
    info = known_data(benchmark)
    if benchmark.classes_per_task is None and benchmark.family != "split":
        benchmark = replace(benchmark, classes_per_task=info.classes)
    if benchmark.path is None or benchmark.dataset != "arrays":
        return benchmark
    sha256, shape = array_file(benchmark.path).sha256, list(info.shape)
    for key, given, value in (
        ("sha256", benchmark.sha256, sha256),
        ("input_shape", benchmark.input_shape, shape),
    ):
        if given not in (None, value):
            raise ConfigError(
                f"benchmark.{key}: got {given} with benchmark.path={benchmark.path}, allowed: {value} or null"
            )
    return replace(benchmark, sha256=sha256, input_shape=shape)
