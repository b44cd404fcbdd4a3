"""The device of a run, its threads and its memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cl_runner.config.schema import Config
from cl_runner.errors import ResourceError
from cl_runner.limits import available_memory

# More threads gain little for networks of a hundred units a layer, and lose much where a core is busy: see
# docs/benchmarks.md.
_THREADS = 1


def set_up(config: Config) -> torch.device:
    """Set the number of threads and choose the device: with `auto`, a CUDA GPU if there is one, else the CPU."""
    torch.set_num_threads(config.threads or _THREADS)
    # Momenta of parameters without gradient shrink into denormal numbers, on which a CPU is many times slower.
    torch.set_flush_denormal(True)
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


@contextmanager
def threads_put_back() -> Iterator[None]:
    """What `set_up` sets for the process is afterwards as it was, or as PyTorch has it when it is imported."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


def free_memory() -> dict[str, int]:
    """Free bytes of the kinds of device that are here: always `cpu`, maybe `cuda`."""
    free = {"cpu": available_memory()}
    if torch.cuda.is_available():
        free["cuda"] = torch.cuda.mem_get_info()[0]
    return free


@contextmanager
def named_memory_errors() -> Iterator[None]:
    """Makes a `ResourceError` of an allocation that failed, on whatever device."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise ResourceError("not enough memory for the network(s): try a smaller model.hidden") from error
        raise
