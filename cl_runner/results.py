"""Reading a run back from its directory."""

import csv
import json
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from cl_runner.config import Config
from cl_runner.files import COMPLETE, is_complete
from cl_runner.metrics import SCORES, ScoreName
from cl_runner.record import read_record


class MLP(torch.nn.Module):
    """A plain multilayer perceptron, its Linear layers in `layers`: `(..., in)` to `(..., out)`."""

    def __init__(self, sizes: list[int], activation: str) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(into, out) for into, out in pairwise(sizes))
        self.activation = activation

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs (logits) of the network."""
        hidden = inputs
        for layer in self.layers[:-1]:
            hidden = getattr(torch, self.activation)(layer(hidden))
        outputs: torch.Tensor = self.layers[-1](hidden)
        return outputs


class Run:
    """The results of a run, read when first asked for. Tasks are numbered from 1."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @cached_property
    def config(self) -> Config:
        """The settings of the run."""
        return read_record(self.path).settings

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Metrics of continual learning, as `cl_runner.metrics.continual_metrics` defines them."""
        found: dict[str, Any] = json.loads((self.path / COMPLETE).read_text())
        return found

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Versions, device, seconds by phase, peak memory."""
        found: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        return found

    @cached_property
    def tasks(self) -> dict[int, dict[str, Any]]:
        """Per task what it is: its `classes` by output, its `angle` in degrees, its `permutation` of pixels (by pixel
        of the input that of the image), or its `interval` of x.
        """
        found: dict[str, dict[str, Any]] = json.loads((self.path / "tasks.json").read_text())
        return {int(task): what for task, what in found.items()}

    @property
    def score(self) -> ScoreName:
        """Of what the matrix is: accuracy, or the mean squared error of a regression."""
        return next(name for name in SCORES if (self.path / f"{name}.csv").exists())

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """Test scores `(T + 1, T)`: row i after i tasks (0 untrained), column j on task j + 1."""
        rows = self.table(f"{self.score}.csv")
        tasks = int(max(row["eval_task"] for row in rows))
        matrix = np.full((tasks + 1, tasks), np.nan)
        for row in rows:
            matrix[int(row["after_task"]), int(row["eval_task"]) - 1] = row[self.score]
        return matrix

    @cached_property
    def learning_curves(self) -> list[dict[str, float]]:
        """Test scores on the tasks so far along training: `task`, `epoch`, `eval_task`, and the score by its name."""
        return self.table("learning_curves.csv")

    @cached_property
    def significance(self) -> dict[int, dict[str, torch.Tensor]]:
        """Per task the Fisher diagonal after it: `layers.L.weight` `(out, in)`, `layers.L.bias` `(out,)`."""
        return self._tensors("significance")

    @cached_property
    def masks(self) -> dict[int, dict[str, torch.Tensor]]:
        """Per task the mask used while training it, 1 trainable and 0 frozen, in between the share of its update that
        a parameter got under a soft mask; named as `significance`.
        """
        return self._tensors("masks")

    def network(self, task: int) -> MLP:
        """The network after `task`, with the outputs of all tasks: in task- and class-incremental scenarios task k
        has outputs (k − 1)·c to k·c − 1, c being `config.benchmark.classes_per_task`.

        Raises:
            ValueError: there is no such task.
        """
        file = self.path / "checkpoints" / f"task_{task}.safetensors"
        if not file.exists():
            raise ValueError(f"task: got {task}, allowed: 1 to {len(self.matrix) - 1}")
        parameters = load_file(file)
        weights = [parameters[f"layers.{layer}.weight"] for layer in range(len(parameters) // 2)]
        network = MLP([weights[0].shape[1], *(len(weight) for weight in weights)], self.config.model.activation)
        network.load_state_dict(parameters)
        return network

    def table(self, name: str) -> list[dict[str, float]]:
        """The rows of one of the CSV tables; an empty field is NaN."""
        with (self.path / name).open(newline="") as file:
            return [{key: float(value or "nan") for key, value in row.items()} for row in csv.DictReader(file)]

    def _tensors(self, folder: str) -> dict[int, dict[str, torch.Tensor]]:
        files = {int(file.stem.removeprefix("task_")): file for file in (self.path / folder).glob("task_*.safetensors")}
        return {task: _in_layer_order(load_file(files[task])) for task in sorted(files)}


def _in_layer_order(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Layer by layer, the weight before the bias; files hold them by alphabet."""
    layers = range(len(tensors) // 2)
    return {name: tensors[name] for layer in layers for name in (f"layers.{layer}.weight", f"layers.{layer}.bias")}


def load_run(path: str | Path) -> Run:
    """The finished run in the directory `path`.

    Raises:
        FileNotFoundError: there is no finished run there.
    """
    if not is_complete(Path(path)):
        raise FileNotFoundError(f"{path} holds no finished run: it has no {COMPLETE} that can be read")
    return Run(Path(path))
