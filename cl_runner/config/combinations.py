"""Settings together: which of those that are right by themselves contradict each other."""

from cl_runner.config.allowed import DottedName
from cl_runner.config.arrays import array_file
from cl_runner.config.data import known_data
from cl_runner.config.datasets import DATASETS, DatasetInfo
from cl_runner.config.descriptions import describe
from cl_runner.config.schema import BenchmarkConfig, Config, MethodConfig, TrainConfig
from cl_runner.errors import ConfigError


def check_combinations(config: Config) -> None:
    """Raises `ConfigError` if settings of a run contradict each other."""
    _check_train(config.train)
    _check_patience(config)
    _check_benchmark(config.benchmark)
    if config.model.kind == "module" and config.model.target is None:
        raise ConfigError(f"model.target: got null with model.kind=module, allowed: {DottedName()}")
    if config.model.kind == "module" and config.model.dropout > 0:
        raise ConfigError(f"model.dropout: got {config.model.dropout} with model.kind=module, allowed: 0")
    _check_method(config.method)
    _check_objective(config.objective, config.benchmark)


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


def _check_patience(config: Config) -> None:
    patience, keep = config.train.patience, config.train.keep_optimizer
    if patience is not None and config.benchmark.validation is None:
        raise ConfigError(
            f"train.patience: got {patience} with benchmark.validation=null, allowed: null, as there are no samples to "
            "judge epochs by"
        )
    if patience is not None and keep:
        raise ConfigError(
            f"train.patience: got {patience} with train.keep_optimizer=true, allowed: null, as the next task would go "
            "on with momenta of another epoch than the best"
        )


def _check_benchmark(benchmark: BenchmarkConfig) -> None:
    family = benchmark.family
    if "own" in (family, benchmark.dataset):
        _check_own(benchmark)
        return
    info = known_data(benchmark)
    if (family == "regression") != (benchmark.dataset == "curve"):
        images = ", ".join([*(name for name in DATASETS if name != "curve"), "arrays"])
        others = "curve" if family == "regression" else images
        raise ConfigError(f"benchmark.dataset: got {benchmark.dataset}, allowed: {others} (benchmark.family={family})")
    if family == "rotated" and len(info.shape) != 3:
        raise ConfigError(
            f"benchmark.family: got rotated, but {benchmark.path} holds vectors, allowed: permuted, split, given"
        )
    if family == "given":
        _check_given(benchmark)
    if family == "split":
        _check_split(benchmark, info)
    elif benchmark.classes_per_task != info.classes:
        what = "has one output" if family == "regression" else "holds every class"
        raise ConfigError(
            f"benchmark.classes_per_task: got {benchmark.classes_per_task}, allowed: {info.classes}, or null "
            f"(each {family} task {what})"
        )
    _check_validation(benchmark, info)
    if family != "regression":
        _check_subsets(benchmark, info)
    elif benchmark.scenario != "domain":
        raise ConfigError(f"benchmark.scenario: got {benchmark.scenario}, allowed: domain in a regression")


def _check_own(benchmark: BenchmarkConfig) -> None:
    if benchmark.dataset != "own":
        raise ConfigError(f"benchmark.dataset: got {benchmark.dataset}, allowed: own (benchmark.family=own)")
    if benchmark.family != "own":
        raise ConfigError(f"benchmark.family: got {benchmark.family}, allowed: own (benchmark.dataset=own)")
    for key in ("target", "input_shape", "classes_per_task"):
        if getattr(benchmark, key) is None:
            allowed = describe(f"benchmark.{key}").removesuffix(", or null")
            raise ConfigError(f"benchmark.{key}: got null with benchmark.family=own, allowed: {allowed}")


def _check_given(benchmark: BenchmarkConfig) -> None:
    if benchmark.dataset != "arrays" or benchmark.path is None:
        raise ConfigError(f"benchmark.dataset: got {benchmark.dataset}, allowed: arrays (benchmark.family=given)")
    tasks = array_file(benchmark.path).tasks
    if not tasks:
        raise ConfigError(
            f"benchmark.family: got given, but {benchmark.path} has no t_train and t_test, allowed: permuted, split, "
            "rotated"
        )
    if benchmark.tasks > tasks:
        raise ConfigError(
            f"benchmark.tasks: got {benchmark.tasks}, allowed: at most {tasks}, the task ids in {benchmark.path}"
        )
    for key, wanted in (("train_samples", benchmark.train_samples), ("test_samples", benchmark.test_samples)):
        if wanted is not None:
            raise ConfigError(f"benchmark.{key}: got {wanted}, allowed: null for all (benchmark.family=given)")


def _check_split(benchmark: BenchmarkConfig, info: DatasetInfo) -> None:
    each = benchmark.classes_per_task
    if each is None or each < 2:
        given = "null" if each is None else each
        raise ConfigError(f"benchmark.classes_per_task: got {given}, allowed: at least 2 in a split task")
    used = benchmark.tasks * each
    if used > info.classes:
        raise ConfigError(
            f"benchmark.tasks: got {benchmark.tasks} with benchmark.classes_per_task={each}, "
            f"allowed: at most {info.classes} classes in all"
        )
    order = benchmark.class_order
    if not isinstance(order, str) and (len(order) < used or max(order) >= info.classes):
        raise ConfigError(
            f"benchmark.class_order: got {order} with benchmark.tasks={benchmark.tasks} and "
            f"benchmark.classes_per_task={each}, allowed: at least {used} classes, each "
            f"from 0 to {info.classes - 1}"
        )


def _check_validation(benchmark: BenchmarkConfig, info: DatasetInfo) -> None:
    samples = benchmark.train_samples or info.train
    if benchmark.validation is not None and samples < 2 * info.classes:
        raise ConfigError(
            f"benchmark.validation: got {benchmark.validation} with {samples} training samples, allowed: null, or at "
            f"least {2 * info.classes} samples"
        )


def _check_subsets(benchmark: BenchmarkConfig, info: DatasetInfo) -> None:
    fewest = (2, 2)
    if benchmark.dataset == "arrays" and benchmark.path is not None:
        fewest = array_file(benchmark.path).fewest
    for key, wanted, whole, smallest in (
        ("train_samples", benchmark.train_samples, info.train, fewest[0]),
        ("test_samples", benchmark.test_samples, info.test, fewest[1]),
    ):
        # Stratified sampling needs as many samples as classes on both sides.
        if wanted is None or (info.classes <= wanted <= whole - info.classes and smallest >= 2):
            continue
        least = f"at least {info.classes}" if wanted < info.classes else f"at most {whole - info.classes}"
        few = smallest < 2 or whole < 2 * info.classes
        allowed = (
            "null, as a class has one sample" if few else f"{least}, or null for all {whole} of {benchmark.dataset}"
        )
        raise ConfigError(f"benchmark.{key}: got {wanted}, allowed: {allowed}")


def _check_method(method: MethodConfig) -> None:
    if method.joint and (method.penalty != "none" or method.mask != "none"):
        raise ConfigError(
            f"method.joint: got true with method.penalty={method.penalty} and method.mask={method.mask}, "
            "allowed: true only without penalty and mask, since each task starts from a fresh network"
        )


def _check_objective(objective: str, benchmark: BenchmarkConfig) -> None:
    always = ("average", "learning")
    if benchmark.tasks == 1 and objective not in always:
        raise ConfigError(f"objective: got {objective} with benchmark.tasks=1, allowed: {', '.join(always)}")
    if objective == "forward_transfer" and benchmark.scenario != "domain":
        raise ConfigError(
            f"objective: got {objective} with benchmark.scenario={benchmark.scenario}, allowed: average, learning, "
            "backward_transfer, average_forgetting, since tasks have outputs of their own"
        )
