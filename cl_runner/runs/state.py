"""The resumable state of a run, one file that is replaced as the run goes on: tensors, and JSON in its header.

Nothing in it is code. It says which run it is of and has a checksum, so that one of another run or a damaged one is
refused. It holds the lengths of the run's tables too: what was recorded after it is dropped on resume.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cl_runner.config.schema import Config, values_before
from cl_runner.errors import StateError
from cl_runner.methods.acting import acting_settings
from cl_runner.results.files import STATE, has_state, write_durably

_FORMAT = 4

Matrix = Sequence[Sequence[float]]


@dataclass(frozen=True)
class RunState:
    """Where a run stands: in the training of `task` (from 0), with `epoch` epochs done and `step` steps of the next, by
    the count of the stack, in which other runs may have had longer or more epochs.

    `vectors` are "parameters" `(P,)`, the optimiser's "optimizer.NAME" `(P,)`, what the method's parts keep,
    "parts.PART.NAME", and with early stopping both as they were after the best epoch, "best.NAME". `count` is the
    number of the optimiser's steps. `generator` is the state of the generator of the samples' order before the epoch,
    None before the first; `losses` those of the epoch's samples so far. `tables` are the lengths in bytes of what is
    recorded, `matrices` `(T + 1, T)` the scores so far by split, `test` and, if the run has such samples,
    `validation`. `standing` is what early stopping goes by: the best score, the epochs since, and the number of the
    last one.
    """

    task: int
    epoch: int
    step: int
    count: int
    tables: Mapping[str, int]
    matrices: Mapping[str, Matrix]
    vectors: Mapping[str, Tensor]
    generator: Tensor | None
    losses: Tensor
    standing: tuple[float, int, int] | None = None

    @property
    def position(self) -> tuple[int, int, int]:
        """What runs must have in common to go on in one stack."""
        return self.task, self.epoch, self.step


def save_states(states: Iterable[tuple[Path, RunState, Config]]) -> None:
    """Replace the states of the runs in these directories. They outlast a power failure, and so must what they say of
    their tables: `cl_runner.results.files.sync` is to be given these before.
    """
    write_durably((directory / STATE, _as_bytes(state, config)) for directory, state, config in states)


def _as_bytes(state: RunState, config: Config) -> bytes:
    tensors = {f"vectors.{name}": vector for name, vector in state.vectors.items()} | {"losses": state.losses}
    if state.generator is not None:
        tensors["generator"] = state.generator
    tensors = {name: tensor.cpu().contiguous() for name, tensor in sorted(tensors.items())}
    plain = {item.name: getattr(state, item.name) for item in fields(state)}
    for name in ("vectors", "generator", "losses"):
        del plain[name]
    header = {"format": _FORMAT, "config": acting_settings(config), "state": plain}
    metadata = {name: json.dumps(value) for name, value in header.items()}
    return save(tensors, metadata | {"checksum": _checksum(tensors, metadata)})


def load_state(directory: Path, config: Config) -> RunState | None:
    """The state of the run in `directory`, or None if there is none, or an empty one.

    Raises:
        StateError: it is damaged, or of a run with another config.
    """
    file = directory / STATE
    if not has_state(directory):
        return None
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in sorted(opened.keys())}
    except (SafetensorError, ValueError, OSError) as error:
        raise StateError(f"{file} is damaged ({error}): delete it to start the run anew") from error
    if metadata.get("format") != json.dumps(_FORMAT):
        raise StateError(f"{file} is of another version of cl-runner: delete it to start the run anew")
    if metadata.pop("checksum", None) != _checksum(tensors, metadata):
        raise StateError(f"{file} is damaged (its checksum differs): delete it to start the run anew")
    header = {name: json.loads(text) for name, text in metadata.items()}
    # A state from before there was a setting has what runs had then.
    now, before = acting_settings(config), dict(values_before()) | header["config"]
    for key in now:
        if now[key] != before.get(key):
            raise StateError(
                f"{key}: got {now.get(key)}, but {file} is of a run with {before.get(key)}, "
                "allowed: the same settings, another directory, or delete that file to start the run anew"
            )
    vectors = {name.removeprefix("vectors."): value for name, value in tensors.items() if name.startswith("vectors.")}
    return RunState(**header["state"], vectors=vectors, generator=tensors.get("generator"), losses=tensors["losses"])


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    total = 0
    for tensor in tensors.values():
        total = zlib.crc32(tensor.numpy().tobytes(), total)
    for _, text in sorted(metadata.items()):
        total = zlib.crc32(text.encode(), total)
    return str(total)
