"""Reading a run back from its directory."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load

from cl_runner.config.schema import Config
from cl_runner.errors import DamagedError
from cl_runner.metrics import ScoreName
from cl_runner.results.benchmark import RunBenchmark
from cl_runner.results.files import COMPLETE, is_complete
from cl_runner.results.recorded import RunFiles
from cl_runner.results.significance import joined_layers, log_histogram

# Bytes of a file of tensors, at most.
_TENSORS = 2**36
_ACTIVATIONS = ("relu", "sigmoid", "tanh")


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
    """The results of a run, read when first asked for. Tasks are numbered from 1.

    Whatever is asked for raises `cl_runner.errors.DamagedError`, which names the file, if that is missing, damaged or
    not what a run writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = RunFiles(path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def config(self) -> Config:
        """The settings of the run; one that came later than the run is what runs had before it."""
        return self._files.settings

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Metrics of continual learning, as `cl_runner.metrics.continual_metrics` defines them."""
        found = self._files.scores.metrics
        if found is None:
            raise DamagedError(self.path / COMPLETE, "is missing")
        return found

    @property
    def facts(self) -> Mapping[str, Any]:
        """What `run.json` holds but for the settings: `sessions` with their versions, device, seconds, memory, ..."""
        return self._files.facts

    @cached_property
    def tasks(self) -> dict[int, dict[str, Any]]:
        """Per task what it is: its `classes` by output, its `angle` in degrees, its `permutation` of pixels (by pixel
        of the input that of the image), or its `interval` of x.
        """
        return self._files.tasks

    @property
    def score(self) -> ScoreName:
        """Of what the matrix is: accuracy, or the mean squared error of a regression."""
        return self._files.scores.name

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Test scores `(T + 1, T)`: row i after i tasks (0 untrained), column j on task j + 1."""
        return self._files.scores.matrix

    @cached_property
    def learning_curves(self) -> list[dict[str, float]]:
        """Test scores on the tasks so far along training: `task`, `epoch`, `eval_task`, and the score by its name."""
        return self.table("learning_curves.csv")

    @cached_property
    def significance(self) -> dict[int, dict[str, torch.Tensor]]:
        """Per task the Fisher diagonal after it: `layers.L.weight` `(out, in)`, `layers.L.bias` `(out,)`."""
        return {task: self._tensors("significance", task) for task in range(1, len(self.matrix))}

    @cached_property
    def masks(self) -> dict[int, dict[str, torch.Tensor]]:
        """Per task the mask used while training it, 1 trainable and 0 frozen, in between the share of its update that
        a parameter got under a soft mask; named as `significance`.
        """
        return {task: self._tensors("masks", task) for task in range(1, len(self.matrix))}

    def network(self, task: int) -> MLP:
        """The network after `task`, with the outputs of all tasks: in task- and class-incremental scenarios task k
        has outputs (k − 1)·c to k·c − 1, c being `config.benchmark.classes_per_task`.

        Raises:
            ValueError: there is no such task.
        """
        if task not in range(1, len(self.matrix)):
            raise ValueError(f"task: got {task}, allowed: 1 to {len(self.matrix) - 1}")
        parameters = self._tensors("checkpoints", task)
        weights = [parameters[f"layers.{layer}.weight"] for layer in range(len(parameters) // 2)]
        network = MLP([weights[0].shape[1], *(len(weight) for weight in weights)], self._activation)
        network.load_state_dict(parameters)
        return network

    def benchmark(self, *, data_dir: str | None = None, path: str | None = None) -> RunBenchmark:
        """The samples of the run's tasks, with its seed's permutations, classes or angles:

            inputs, labels = run.benchmark().test(task=2)
            outputs = run.network(2)(inputs)

        Args:
            data_dir: where the datasets of images lie here; as in the run's settings if None.
            path: where the file of arrays lies here; as in the run's settings if None.

        Raises:
            ConfigError, DataError: the data are not there, or not those of the run.
        """
        config = self.config
        benchmark = config.benchmark if path is None else replace(config.benchmark, path=path)
        return RunBenchmark(replace(config, data_dir=data_dir or config.data_dir, benchmark=benchmark))

    def table(self, name: str) -> list[dict[str, float]]:
        """The rows of one of the CSV tables; an empty field is NaN.

        Raises:
            ValueError: runs have no such table.
        """
        columns = self._files.table(name)
        return [
            dict(zip(columns, row, strict=True))
            for row in zip(*(values.tolist() for values in columns.values()), strict=True)
        ]

    @property
    def _activation(self) -> str:
        """No other setting is needed to make a network, so none that is wrong stands in the way."""
        file = self._files.stored.file
        try:
            found = self._files.stored.settings["model"]["activation"]
        except (LookupError, TypeError):
            found = None
        if found not in _ACTIVATIONS:
            raise DamagedError(file, f"model.activation: got {found!r:.80}, allowed: one of {', '.join(_ACTIVATIONS)}")
        return str(found)

    def _tensors(self, folder: str, task: int) -> dict[str, torch.Tensor]:
        name = f"{folder}/task_{task}.safetensors"
        file = self.path / name
        try:
            tensors = load(self._files.read(name, _TENSORS))
        except SafetensorError as error:
            raise DamagedError(file, f"not valid: {error}") from error
        problem = _problem(folder, tensors)
        if not problem and self._files.checksums is None and self._files.complete:
            problem = self._contradiction(folder, task, tensors)
        if problem:
            raise DamagedError(file, problem)
        return {name: tensors[name] for name in _names(len(tensors) // 2)}

    def _contradiction(self, folder: str, task: int, tensors: Mapping[str, torch.Tensor]) -> str:
        """In what the tensors differ from what tables say of them, for a run without checksums; empty if in nothing."""
        table = "significance.csv" if folder == "significance" else "layers.csv"
        rows = [row for row in self.table(table) if row["task"] == task]
        layers = joined_layers(tensors)
        if len(rows) != len(layers):
            return f"it has {len(layers)} layers, {table} {len(rows)}"
        for layer, (row, values) in enumerate(zip(rows, layers, strict=True)):
            if folder == "significance":
                histogram = log_histogram(values)
                found = {key: getattr(histogram, key) for key in ("median", "p5", "p95", "zero_share")}
            elif folder == "masks":
                found = {"parameters": values.size, "frozen": (values == 0).sum()}
            else:
                weight = tensors[f"layers.{layer}.weight"]
                found = {"zero_weights": int((weight == 0).sum()), "l1_norm": float(weight.abs().sum())}
            for key, value in found.items():
                if not np.isclose(value, row[key], rtol=1e-4, atol=1e-6, equal_nan=True):
                    return f"layer {layer} has not the {key} of {table}"
        return ""


def _problem(folder: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """What is wrong with the tensors of a file in `folder`, which are those of a network's layers; empty if nothing."""
    if not tensors or set(tensors) != set(_names(len(tensors) // 2)):
        return "it has not a weight and a bias for each layer"
    kinds = (torch.uint8, torch.float32) if folder == "masks" else (torch.float32,)
    width = None
    for layer in range(len(tensors) // 2):
        weight, bias = tensors[f"layers.{layer}.weight"], tensors[f"layers.{layer}.bias"]
        if weight.dim() != 2 or bias.shape != weight.shape[:1] or width not in (None, weight.shape[1]):
            return f"layer {layer} has a shape that does not fit"
        width = len(weight)
        for tensor in (weight, bias):
            if tensor.dtype not in kinds or not tensor.numel():
                return f"layer {layer} is of another type"
            low, high = tensor.aminmax()
            if not (torch.isfinite(low) and torch.isfinite(high)):
                return f"layer {layer} has values that are not finite"
            if (low < 0 and folder != "checkpoints") or (high > 1 and folder == "masks"):
                return f"layer {layer} has a value out of range"
    return ""


def _names(layers: int) -> list[str]:
    """Layer by layer, the weight before the bias; files hold them by alphabet."""
    return [f"layers.{layer}.{kind}" for layer in range(layers) for kind in ("weight", "bias")]


def load_run(path: str | Path) -> Run:
    """The finished run in the directory `path`.

    Raises:
        FileNotFoundError: there is no finished run there.
    """
    if not is_complete(Path(path)):
        raise FileNotFoundError(f"{path} holds no finished run: it has no {COMPLETE} that can be read")
    return Run(Path(path))
