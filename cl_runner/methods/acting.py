"""Which settings of a run act, and which do nothing, as another setting stands in their way."""

from collections.abc import Sequence
from typing import Any

from cl_runner.config.plain_settings import dotted
from cl_runner.config.schema import INCIDENTAL, Config
from cl_runner.methods.settings import parts_of

_OF_ARRAYS, _OF_OWN = ("benchmark.path", "benchmark.sha256"), ("benchmark.target", "benchmark.arguments")


def acting_settings(config: Config) -> dict[str, Any]:
    """The settings, by dotted key, on which the run's numbers depend: where two runs agree in these, they are one."""
    idle = {*INCIDENTAL, *idle_settings(config)}
    return {key: value for key, value in dotted(config) if key not in idle}


def difference(before: Config, now: Config) -> tuple[str, Any, Any] | None:
    """The first setting in which two runs differ, with both values; None if they are one run."""
    one, two = acting_settings(before), acting_settings(now)
    keys = [key for key in {**two, **one} if one.get(key, ...) != two.get(key, ...)]
    return (keys[0], one.get(keys[0]), two.get(keys[0])) if keys else None


def idle_settings(config: Config) -> dict[str, str]:
    """The settings, by dotted key, without which this run would be the same, each with the reason.

    `freeze`, `method.soft`, `method.unit`, ... of a method without mask, for example. What stands in their way acts:
    here `method.mask`, which is "none". Runs that differ in nothing else are one run.
    """
    method, train, fisher, family = config.method, config.train, config.fisher, config.benchmark.family
    no_mask = no_penalty = ""
    parts = parts_of(config)
    if "mask" not in parts:
        without = f"method={method.name} has no mask (method.mask=none)"
        no_mask = without if method.mask == "none" else "freeze=0 freezes nothing"
    if "penalty" not in parts:
        without = f"method={method.name} has no penalty (method.penalty=none)"
        no_penalty = without if method.penalty == "none" else "method.ewc_lambda=0 pulls at nothing"
    every_output = ""
    if config.benchmark.scenario == "domain":
        every_output = "with benchmark.scenario=domain all outputs are in use from the first task on"
    elif config.freeze == 0:
        # A soft mask's threshold is the largest significance then, which an output out of use does not have.
        every_output = "freeze=0 freezes nothing"
    online = method.penalty == "online_ewc"
    summed, averaged = (f"method.penalty=online_ewc with method.update={update}" for update in ("sum", "average"))
    forgotten = "each task of method.joint=true has a fresh network" if method.joint else ""
    if train.optimizer == "sgd" and train.momentum == 0:
        forgotten = "train.optimizer=sgd without train.momentum keeps nothing from step to step"
    not_own = "" if family == "own" else "only benchmark.family=own has it"
    built_in = "the dataset has its own" if config.benchmark.dataset not in ("arrays", "own") else ""
    module = "model.kind=module has its own" if config.model.kind == "module" else ""
    mlp = "only model.kind=module uses it" if config.model.kind == "mlp" else ""
    idle = {
        "model.hidden": module,
        "model.activation": module,
        "model.dropout": "only model.kind=mlp drops units" if module else "",
        "model.target": mlp,
        **{key: mlp for key, _ in dotted(config) if key.startswith("model.arguments.")},
        "benchmark.input_shape": built_in,
        "freeze": no_mask if method.mask == "none" else "",
        "method.mask": no_mask if method.mask != "none" else "",
        "method.mask_source": no_mask,
        "method.unit": no_mask,
        "method.soft": no_mask if method.mask == "none" else "",
        "method.unused": no_mask or every_output,
        "method.ewc_lambda": no_penalty if method.penalty == "none" else "",
        "method.penalty": no_penalty if method.penalty != "none" else "",
        "method.update": no_penalty if online else "only method.penalty=online_ewc uses it",
        "method.gamma": no_penalty if online and method.update == "sum" else f"only {summed} uses it",
        "method.alpha": no_penalty if online and method.update == "average" else f"only {averaged} uses it",
        "benchmark.normalize": "a curve's x is taken as it is" if config.benchmark.dataset == "curve" else "",
        **dict.fromkeys(
            _OF_ARRAYS, "" if config.benchmark.dataset == "arrays" else "only benchmark.dataset=arrays has it"
        ),
        **{key: not_own for key, _ in dotted(config.benchmark, "benchmark.") if key.startswith(_OF_OWN)},
        "benchmark.class_order": "" if family == "split" else "only benchmark.family=split parts the classes",
        "benchmark.angles": "" if family == "rotated" else "only benchmark.family=rotated turns images",
        "benchmark.max_angle": "" if family == "rotated" else "only benchmark.family=rotated turns images",
        "train.momentum": "" if train.optimizer == "sgd" else "only train.optimizer=sgd has a momentum",
        "train.task_decay": "" if config.benchmark.tasks > 1 else "with benchmark.tasks=1 there is no second task",
        "train.keep_optimizer": forgotten,
        "fisher.batch_size": "" if fisher.estimator == "batched" else "only fisher.estimator=batched has batches",
    }
    return {key: reason for key, reason in idle.items() if reason}


def unused_settings(config: Config, overrides: Sequence[str]) -> dict[str, str]:
    """By dotted key one line for each setting given in `overrides` that this run's method or training does not use."""
    idle = idle_settings(config)
    given = [override.lstrip("+").partition("=")[0] for override in overrides]
    for key in given:
        if key.startswith("method.parts.") and (name := key.split(".")[2]) not in config.method.parts:
            idle[key] = f"method={config.method.name} has no part {name}"
    return {key: f"{key} was set but is not used: {idle[key]}" for key in given if key in idle}
