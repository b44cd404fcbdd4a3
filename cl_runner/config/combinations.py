"""Settings together: which of those that are right by themselves contradict each other."""

from cl_runner.config.datasets import DATASETS
from cl_runner.config.schema import BenchmarkConfig, Config, MethodConfig, TrainConfig
from cl_runner.errors import ConfigError


def check_combinations(config: Config) -> None:
    """Raises `ConfigError` if settings of a run contradict each other."""
    _check_train(config.train)
    _check_benchmark(config.benchmark)
    _check_method(config.method)


def _check_train(train: TrainConfig) -> None:
    if train.epochs is not None and train.iterations is not None:
        raise ConfigError(
            f"train.iterations: got {train.iterations} with train.epochs={train.epochs}, allowed: one of the two; "
            "set the other to null (train.epochs=null)"
        )
    if train.epochs is None and train.iterations is None:
        raise ConfigError("train.epochs: got null with train.iterations=null, allowed: one of the two set")
    if train.first_epochs is not None and train.iterations is not None:
        raise ConfigError(
            f"train.first_epochs: got {train.first_epochs} with train.iterations={train.iterations}, allowed: null"
        )


def _check_benchmark(benchmark: BenchmarkConfig) -> None:
    dataset, family = DATASETS[benchmark.dataset], benchmark.family
    if (family == "regression") != (benchmark.dataset == "curve"):
        others = "curve" if family == "regression" else ", ".join(name for name in DATASETS if name != "curve")
        raise ConfigError(f"benchmark.dataset: got {benchmark.dataset}, allowed: {others} (benchmark.family={family})")
    if family == "split":
        if benchmark.classes_per_task < 2:
            raise ConfigError("benchmark.classes_per_task: got 1, allowed: at least 2 in a split task")
        used = benchmark.tasks * benchmark.classes_per_task
        if used > dataset.classes:
            raise ConfigError(
                f"benchmark.tasks: got {benchmark.tasks} with benchmark.classes_per_task={benchmark.classes_per_task}, "
                f"allowed: at most {dataset.classes} classes in all"
            )
        order = benchmark.class_order
        if not isinstance(order, str) and (len(order) < used or max(order) >= dataset.classes):
            raise ConfigError(
                f"benchmark.class_order: got {order} with benchmark.tasks={benchmark.tasks} and "
                f"benchmark.classes_per_task={benchmark.classes_per_task}, allowed: at least {used} classes, each "
                f"from 0 to {dataset.classes - 1}"
            )
    elif benchmark.classes_per_task != dataset.classes:
        what = "has one output" if family == "regression" else "holds every class"
        raise ConfigError(
            f"benchmark.classes_per_task: got {benchmark.classes_per_task}, allowed: {dataset.classes} "
            f"(each {family} task {what})"
        )
    if family == "regression":
        if benchmark.scenario != "domain":
            raise ConfigError(f"benchmark.scenario: got {benchmark.scenario}, allowed: domain in a regression")
        return
    for key, wanted, whole in (
        ("train_samples", benchmark.train_samples, dataset.train),
        ("test_samples", benchmark.test_samples, dataset.test),
    ):
        # Stratified sampling needs as many samples as classes on both sides.
        if wanted is not None and wanted > whole - dataset.classes:
            raise ConfigError(
                f"benchmark.{key}: got {wanted}, allowed: at most {whole - dataset.classes}, "
                f"or null for all {whole} of {benchmark.dataset}"
            )


def _check_method(method: MethodConfig) -> None:
    if method.joint and (method.penalty != "none" or method.mask != "none"):
        raise ConfigError(
            f"method.joint: got true with method.penalty={method.penalty} and method.mask={method.mask}, "
            "allowed: true only without penalty and mask, since each task starts from a fresh network"
        )
