"""Reading a run back from its directory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from cl_runner.config.data import input_shape
from cl_runner.config.schema import Config
from cl_runner.errors import DamagedError, NotSavedError
from cl_runner.metrics import ScoreName
from cl_runner.results.benchmark import RunBenchmark
from cl_runner.results.files import COMPLETE, is_complete
from cl_runner.results.recorded import RunFiles
from cl_runner.results.significance import joined_layers, log_histogram
from cl_runner.results.tensors import Folder, Layers, parse_tensors, weight_counts

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
    not what a run writes; and tensors that it did not save, `cl_runner.errors.NotSavedError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = RunFiles(path)
        # As the first of the files that are read has them.
        self._layers: Layers | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def config(self) -> Config:
        """The settings of the run; one that came later than the run is what runs had before it."""
        return self._files.settings

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Metrics of continual learning, as `cl_runner.metrics.continual_metrics` defines them; under `validation` the
        same over the validation samples, if there are such.
        """
        found, validation = self._files.scores.metrics, self._files.validation
        if found is None:
            raise DamagedError(self.path / COMPLETE, "is missing")
        return {**found, "validation": validation.metrics} if validation else found

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

    @property
    def validation_matrix(self) -> NDArray[np.float64] | None:
        """The same over the validation samples; None of a run that had none. Their metrics are
        `metrics["validation"]`.
        """
        return self._files.validation.matrix if self._files.validation else None

    @cached_property
    def learning_curves(self) -> list[dict[str, float]]:
        """Test scores on the tasks so far along training: `task`, `epoch`, `eval_task`, and the score by its name."""
        return self.table("learning_curves.csv")

    @property
    def saved_tasks(self) -> list[int]:
        """The tasks whose tensors the run has left, as its `save` had it: all, the last one, or none."""
        return self._saved("significance")

    @cached_property
    def significance(self) -> Mapping[int, Mapping[str, torch.Tensor]]:
        """Per task of `saved_tasks` the Fisher diagonal after it, by the names of the network's parameters: of a
        multilayer perceptron `layers.L.weight` `(out, in)`, `layers.L.bias` `(out,)`.
        """
        return self._by_task("significance")

    @cached_property
    def masks(self) -> Mapping[int, Mapping[str, torch.Tensor]]:
        """Per task of `saved_tasks` the mask used while training it, 1 trainable and 0 frozen, in between the share of
        its update that a parameter got under a soft mask; named as `significance`.
        """
        return self._by_task("masks")

    @property
    def layers(self) -> Layers:
        """The names of each layer's tensors in `significance` and `masks`, the output layer last."""
        return self._layers or self._parsed("significance", next(iter(self.saved_tasks), 1))[1]

    def network(self, task: int) -> torch.nn.Module:
        """The network after `task`, with the outputs of all tasks: in task- and class-incremental scenarios task k
        has outputs (k − 1)·c to k·c − 1, c being `config.benchmark.classes_per_task`. A module of one's own is imported
        and made as `config.model` says.

        Raises:
            ValueError: there is no such task.
            ConfigError: the module cannot be imported or made.
        """
        if task not in range(1, len(self.matrix)):
            raise ValueError(f"task: got {task}, allowed: 1 to {len(self.matrix) - 1}")
        parameters = self._tensors("checkpoints", task)
        is_mlp = self._model("kind", ("mlp", "module"), "mlp") == "mlp"
        network = self._perceptron(parameters) if is_mlp else self._module(parameters)
        try:
            # What is in a module besides parameters is as new.
            network.load_state_dict(network.state_dict() | parameters)
        except RuntimeError as error:
            file = self.path / _file("checkpoints", task)
            words = " ".join(str(error).split())
            raise DamagedError(file, f"it is not of such a network as the settings make now: {words}") from error
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

    def _perceptron(self, parameters: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        widths = [parameters[layer[0]].shape for layer in self.layers]
        return MLP([widths[0][-1], *(width[0] for width in widths)], self._model("activation", _ACTIVATIONS))

    def _module(self, parameters: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        from cl_runner.engine.models import blueprint

        shape, outputs = input_shape(self.config.benchmark), len(parameters[self.layers[-1][0]])
        return blueprint(self.config.model, shape, outputs).drawn(self.config.seed)

    def _model(self, name: str, allowed: Sequence[str], before: str | None = None) -> str:
        """A setting of the network; that of a perceptron needs no other, so none that is wrong stands in the way."""
        file = self._files.stored.file
        try:
            found = self._files.stored.settings["model"].get(name, before)
        except (LookupError, TypeError, AttributeError):
            found = None
        if found not in allowed:
            raise DamagedError(file, f"model.{name}: got {found!r:.80}, allowed: one of {', '.join(allowed)}")
        return str(found)

    def _parsed(self, folder: Folder, task: int) -> tuple[dict[str, torch.Tensor], Layers]:
        name = _file(folder, task)
        if not self._files.has_left(name):
            raise NotSavedError(self.path / name)
        tensors, layers = parse_tensors(self.path / name, self._files.read(name, _TENSORS), folder)
        self._layers = self._layers or layers
        return tensors, layers

    def _saved(self, folder: Folder) -> list[int]:
        return [task for task in range(1, len(self.matrix)) if self._files.has_left(_file(folder, task))]

    def _by_task(self, folder: Folder) -> Mapping[int, Mapping[str, torch.Tensor]]:
        found = {task: self._tensors(folder, task) for task in self._saved(folder) or [1]}
        return _Saved(found, {task: self.path / _file(folder, task) for task in range(1, len(self.matrix))})

    def _tensors(self, folder: Folder, task: int) -> dict[str, torch.Tensor]:
        tensors, layers = self._parsed(folder, task)
        problem = "" if layers == self._layers else "its layers are not those of the other files"
        if not problem and self._files.checksums is None and self._files.complete:
            problem = self._contradiction(folder, task, tensors)
        if problem:
            raise DamagedError(self.path / _file(folder, task), problem)
        return tensors

    def _contradiction(self, folder: Folder, task: int, tensors: Mapping[str, torch.Tensor]) -> str:
        """In what the tensors differ from what tables say of them, for a run without checksums; empty if in nothing."""
        table = "significance.csv" if folder == "significance" else "layers.csv"
        rows = [row for row in self.table(table) if row["task"] == task]
        layers = joined_layers(tensors, self.layers)
        if len(rows) != len(layers):
            return f"it has {len(layers)} layers, {table} {len(rows)}"
        for layer, (row, values) in enumerate(zip(rows, layers, strict=True)):
            if folder == "significance":
                histogram = log_histogram(values)
                found = {key: getattr(histogram, key) for key in ("median", "p5", "p95", "zero_share")}
            elif folder == "masks":
                found = {"parameters": values.size, "frozen": (values == 0).sum()}
            else:
                zeros, norm = weight_counts([tensors[name] for name in self.layers[layer]])
                found = {"zero_weights": zeros, "l1_norm": norm}
            for key, value in found.items():
                if not np.isclose(value, row[key], rtol=1e-4, atol=1e-6, equal_nan=True):
                    return f"layer {layer} has not the {key} of {table}"
        return ""


class _Saved(dict[int, Mapping[str, torch.Tensor]]):
    """Tensors by task, which says of one that was not saved why it is not there; `files` are those of all tasks."""

    def __init__(self, found: Mapping[int, Mapping[str, torch.Tensor]], files: Mapping[int, Path]) -> None:
        super().__init__(found)
        self._files = files

    def __missing__(self, task: int) -> NoReturn:
        if task in self._files:
            raise NotSavedError(self._files[task])
        raise KeyError(task)


def _file(folder: Folder, task: int) -> str:
    return f"{folder}/task_{task}.safetensors"


def load_run(path: str | Path) -> Run:
    """The finished run in the directory `path`.

    Raises:
        FileNotFoundError: there is no finished run there.
    """
    if not is_complete(Path(path)):
        raise FileNotFoundError(f"{path} holds no finished run: it has no {COMPLETE} that can be read")
    return Run(Path(path))
