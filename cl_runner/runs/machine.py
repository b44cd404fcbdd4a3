"""Whether this machine has what a run asks for: cores for its threads, and its device.

Nothing here imports torch unless a GPU is asked for, so that a bad setting is refused at once.
"""

from omegaconf import DictConfig, OmegaConf

from cl_runner.errors import ConfigError
from cl_runner.limits import cores

# How many runs, or stacks of them, a launcher computes at the same time.
_AT_ONCE = ("hydra.launcher.workers", "hydra.launcher.array_parallelism")


def check_cores(composed: DictConfig, *, here: bool = True) -> None:
    """Whether the threads of a run, and of the runs that a launcher computes at the same time, have cores.

    More threads than cores are many times slower, not a little.

    Args:
        composed: with Hydra's settings or without; what a sweep has still to set may be missing.
        here: whether this machine computes them; elsewhere it is the allocation that counts.

    Raises:
        ConfigError: there are more, and `oversubscribe` does not ask for it.
    """
    threads, at_once = OmegaConf.select(composed, "threads") or 1, 1
    if OmegaConf.select(composed, "oversubscribe") or not isinstance(threads, int):
        return
    if not here:
        allowed = OmegaConf.select(composed, "hydra.launcher.cpus_per_task") or threads
        name = "hydra.launcher.cpus_per_task"
    else:
        asked = {key: OmegaConf.select(composed, key) for key in _AT_ONCE}
        if threads == 1 and not any(asked.values()):
            # One core there is; how many takes reading files of the system.
            return
        allowed, name = cores(), "the cores that this process may use"
        for key, count in asked.items():
            at_once = count or at_once
            # A GPU computes for any number of processes.
            if at_once * threads > allowed and at_once > 1 and OmegaConf.select(composed, "device") != "cuda":
                raise ConfigError(
                    f"{key}: got {at_once} with threads={threads}, allowed: at most {allowed} threads in all, {name}, "
                    "or oversubscribe=true"
                )
    if threads > allowed:
        raise ConfigError(f"threads: got {threads}, allowed: at most {allowed}, {name}, or oversubscribe=true")


def check_device(name: str) -> None:
    """Raises `ConfigError` if this machine does not have the device."""
    if name not in ("cuda", "mps"):
        return
    import torch

    if not (torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available()):
        raise ConfigError(f"device: got {name}, which this machine does not have, allowed here: auto, cpu")
