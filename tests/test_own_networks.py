"""Runs of networks of one's own: from the settings to what is read back."""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import own_nets
import pytest
import torch
from conftest import MakeConfig
from safetensors.torch import load_file, save_file
from test_resuming import StopAt, same
from test_runner import Silent

from cl_runner.config.plain_settings import checked_settings
from cl_runner.config.schema import Config
from cl_runner.errors import ConfigError, DamagedError, StoppedError
from cl_runner.methods.acting import acting_settings, unused_settings
from cl_runner.results.run import Run
from cl_runner.runs import loop
from cl_runner.runs.loop import run_stack
from cl_runner.sweeps.jobs import largest_stack

OWN = ["model=module", "model.target=own_nets.convolutional"]
SMALL = [
    "benchmark=split_digits",
    "benchmark.tasks=3",
    "benchmark.train_samples=150",
    "train.epochs=1",
    "train.batch_size=8",
    "fisher.samples=20",
]
METHODS = [
    ["method=ewc", "benchmark.scenario=class"],
    ["method=layerwise_mask", "method.unit=neuron", "freeze=0.5", "benchmark.scenario=class"],
    ["method=global_mask", "method.soft=true", "freeze=0.5", "method.l1_lambda=1e-3", "benchmark.scenario=class"],
]


def trained(configs: list[Config], place: Path) -> list[Run]:
    folders = [place / str(number) for number in range(len(configs))]
    run_stack(configs, folders, Silent())
    return [Run(folder) for folder in folders]


@pytest.fixture(scope="module")
def configs(make_config: MakeConfig) -> list[Config]:
    """Two seeds of each of three methods, and two more."""
    several = [[*method, f"seed={seed}"] for seed in (0, 1) for method in METHODS]
    more = [[*METHODS[0], "method=finetune", f"seed={seed}"] for seed in (0, 2)]
    return [make_config(*OWN, *SMALL, *overrides) for overrides in several + more]


@pytest.fixture(scope="module")
def runs(configs: list[Config], tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    return trained(configs, tmp_path_factory.mktemp("stacked"))


def test_runs_of_a_stack_are_as_they_are_alone(runs: list[Run], configs: list[Config], tmp_path: Path) -> None:
    for number, config in enumerate(configs):
        (alone,) = trained([config], tmp_path / str(number))
        for task in (1, 3):
            found, expected = (run.network(task).state_dict() for run in (runs[number], alone))
            for name, tensor in expected.items():
                torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stop", [0, 3, 7])
def test_a_run_that_is_taken_up_again_ends_as_if_nothing_had_happened(
    stop: int, runs: list[Run], configs: list[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / str(number) for number in range(len(configs))]
    monkeypatch.setattr(loop, "Pauses", StopAt)
    monkeypatch.setattr(StopAt, "last", stop)
    StopAt.count = iter(range(10**6))  # type: ignore[assignment] # counts as it does
    with pytest.raises(StoppedError):
        run_stack(configs, folders, Silent())
    monkeypatch.undo()
    run_stack(configs, folders, Silent())
    for folder, run in zip(folders, runs, strict=True):
        same(run.path, folder)


def test_whole_filters_are_frozen_to_the_bit(runs: list[Run]) -> None:
    run = runs[1]
    before, after, mask = (run.network(1).state_dict(), run.network(2).state_dict(), run.masks[2])
    for filters in ("0", "3", "4"):
        weight, bias = mask[f"{filters}.weight"].bool(), mask[f"{filters}.bias"].bool()
        # A filter is free with its bias, or frozen with it; of three or six half are.
        assert torch.equal(weight.flatten(1).all(1) if weight.dim() > 1 else weight, bias)
        assert torch.equal(weight.flatten(1).any(1) if weight.dim() > 1 else weight, bias)
        assert int((~bias).sum()) == round(0.5 * len(bias))
    for name, free in mask.items():
        assert torch.equal(before[name][free == 0], after[name][free == 0])
        assert not torch.equal(before[name][free == 1], after[name][free == 1])


def test_outputs_of_tasks_to_come_stay_as_drawn(runs: list[Run], configs: list[Config]) -> None:
    drawn = runs[0].network(1).state_dict()
    for task in (1, 2):
        trained_on = runs[0].network(task).state_dict()
        for name in ("7.weight", "7.bias"):
            assert torch.equal(trained_on[name][2 * task :], drawn[name][2 * task :])
    assert configs[0].benchmark.scenario == "class"


def test_files_have_the_names_of_the_network_and_say_what_is_a_layer(runs: list[Run]) -> None:
    run = runs[0]
    layers = [[f"{module}.weight", f"{module}.bias"] for module in (0, 3, 4, 7)]
    assert run.layers == layers
    shapes = {name: tensor.shape for name, tensor in own_nets.convolutional((1, 8, 8), 6).state_dict().items()}
    for found in (run.significance[2], run.masks[2], run.network(2).state_dict()):
        assert {name: tensor.shape for name, tensor in found.items()} == shapes
        assert list(found) == [name for layer in layers for name in layer]
    rows = [row for row in run.table("layers.csv") if row["task"] == 2]
    sizes = [sum(shapes[name].numel() for name in layer) for layer in layers]
    assert [row["parameters"] for row in rows] == sizes
    # A norm has no weights in the sense of one for each input.
    state = run.network(2).state_dict()
    norms = [float(state[f"{module}.weight"].abs().sum()) for module in (0, 3, 7)]
    assert [row["l1_norm"] for row in rows] == pytest.approx([*norms[:2], 0, norms[2]], rel=1e-5)


def test_the_network_that_is_read_back_has_the_recorded_accuracy(runs: list[Run]) -> None:
    benchmark = runs[0].benchmark()
    inputs, labels = benchmark.test(2)
    outputs = runs[0].network(3)(inputs)[:, benchmark.active_outputs(2, 3)]
    assert float((outputs.argmax(1) == labels).double().mean()) == pytest.approx(runs[0].matrix[3, 1])


def test_the_record_has_the_file_of_ones_own_code(runs: list[Run]) -> None:
    (session,) = runs[0].facts["sessions"]
    file = Path(own_nets.__file__)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert session["own_code"] == {"own_nets.convolutional": {"file": str(file), "sha256": digest}}


def test_joint_training_draws_new_weights_before_each_task(make_config: MakeConfig, tmp_path: Path) -> None:
    joint = make_config(*OWN, *SMALL, "method=joint", "train.learning_rate=1e-20")
    (run,) = trained([joint], tmp_path)
    first, second = (run.network(task).state_dict()["0.weight"] for task in (1, 2))
    assert not torch.allclose(first, second)


def test_a_network_with_a_buffer_and_odd_layers(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(
        *SMALL, "model=module", "model.target=own_nets.Constant", "method=layerwise_mask", "freeze=0.5"
    )
    (run,) = trained([config], tmp_path)
    assert run.layers == [["mix.weight"], ["mix.bias"], ["out.weight", "out.bias"]]
    assert torch.equal(run.network(3).state_dict()["scale"], torch.linspace(0.5, 1, 64))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("tensors.pop('0.bias')", "it has not the tensors of its layers"),
        ("layers.pop()", "it has not the tensors of its layers"),
        ("layers[0].append(3)", "it has not the tensors of its layers"),
        ("layers.insert(0, [])", "it has not the tensors of its layers"),
        ("layers[0].append(layers[1].pop(0))", "layer 0 has a shape that does not fit"),
        ("layers.reverse()", "its layers are not those of the other files"),
        ("tensors['4.bias'].fill_(-1)", "layer 2 has a value out of range"),
    ],
)
def test_files_of_others_are_checked(
    change: str,
    words: str,
    runs: list[Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Without the checksums by which any change is found.
    monkeypatch.setattr("cl_runner.results.recorded.RunFiles.checksums", None)
    run = Run(runs[0].path)
    assert run.layers
    file = run.path / "significance" / "task_2.safetensors"
    content = file.read_bytes()
    tensors = load_file(file)
    layers = json.loads(json.dumps(run.layers))
    eval(change, {"tensors": tensors, "layers": layers})
    try:
        save_file(tensors, file, {"layers": json.dumps(layers)})
        with pytest.raises(DamagedError) as error:
            run._tensors("significance", 2)
    finally:
        file.write_bytes(content)
    assert words in str(error.value)


def test_reading_imports_nothing(runs: list[Run]) -> None:
    """But for the network itself."""
    code = (
        "import sys; from cl_runner.results.run import load_run; run = load_run(sys.argv[1]); "
        "print(len(run.significance), len(run.masks), run.layers[0], run.config.model.target, "
        "'own_nets' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(runs[0].path)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "3 3 ['0.weight', '0.bias'] own_nets.convolutional False"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.target=own_nets"], "model.target: got own_nets, allowed: a dotted name, as in mine.nets.make_cnn"),
        (["model.target=null"], "model.target: got null with model.kind=module, allowed: a dotted name"),
        (["model.target=own_nets.none"], "model.target: got own_nets.none, allowed: a name in the module own_nets"),
        (["model.target=own_nets.three"], "model.target: got own_nets.three, allowed: a class or function that gives"),
        (["model.target=own_nets.number"], "which gives int, no network, allowed: a class or function that gives a"),
        (["model.target=own_nets.raises"], "but making it fails: KeyError: ((1, 8, 8), 10) ({file}, line "),
        (["model.target=own_nets.NoParameters"], "which has no parameters, allowed: a network that can be trained"),
        (["+model.arguments.depth=2"], "model.arguments: got {{'depth': 2}}, allowed: those of own_nets.convolutional"),
        (["+model.arguments={width: inf}"], "model.arguments: got {{'width': inf}}, allowed: a mapping of words to"),
        (
            ["model.target=own_nets.too_wide"],
            "which gives (2, 11) for 2 samples, allowed: a network that gives (2, 10)",
        ),
        (
            ["model.target=own_nets.of_three_channels"],
            "but on samples (2, 1, 8, 8) it fails: RuntimeError: Given groups",
        ),
        (["model.target=own_nets.normed"], "whose 2.running_mean changes at each step, allowed: a network without"),
        (["model.target=own_nets.dropping"], "whose outputs are random, allowed: a network without dropout"),
        (["model.target=own_nets.Odd", "+model.arguments.odd=scalar"], "whose scale has the shape (), allowed"),
        (["model.target=own_nets.Odd", "+model.arguments.odd=lazy"], "whose lazy.weight has no shape before it is"),
        (["model.target=own_nets.Odd", "+model.arguments.odd=tied"], "whose other.weight is shared with one.weight"),
        (["model.target=own_nets.Odd", "+model.arguments.odd=double"], "whose precise is torch.float64, allowed"),
        (["model.target=own_nets.Odd", "+model.arguments.odd=still"], "whose still requires no gradient, allowed: a"),
        (["model.target=own_nets.Odd", "+model.arguments.odd=elsewhere"], "whose shift is drawn from elsewhere"),
        (["model.target=own_nets.Odd", "+model.arguments.odd=buffer"], "whose noise, a buffer, is drawn at random"),
        (["model.target=own_nets.Odd", "+model.arguments.odd=batch"], "whose output for a sample depends on others"),
        (["model.target=own_nets.Odd", "+model.arguments.odd=recurrent"], "but its gradients by sample fail: "),
        (
            ["model.target=own_nets.Odd", "+model.arguments.odd=first"],
            "whose last layer (body.weight and body.bias) is not that of the",
        ),
        (["model.target=own_nets.Odd", "+model.arguments.odd=mixed"], "whose last layer (mix.weight and mix.bias) is"),
    ],
)
def test_what_cannot_work_is_refused(overrides: list[str], words: str, make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError) as error:
        make_config(*OWN, *overrides)
    said = str(error.value)
    assert words.format(file=own_nets.__file__) in said
    assert ", allowed: " in said
    assert len(said.splitlines()) == 1


def test_a_refused_command_creates_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cl_runner", "model=module"]
    for more, words in (
        ([], "model.target: got null with model.kind=module, allowed: a dotted name"),
        (["model.target=no.net"], "module no"),
    ):
        done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_settings(make_config: MakeConfig) -> None:
    mlp, own = make_config(), make_config(*OWN, "+model.arguments.width=5")
    acting = acting_settings(own)
    assert acting["model.target"] == "own_nets.convolutional"
    assert acting["model.arguments.width"] == 5
    assert "model.hidden" not in acting
    assert not any(key.startswith(("model.target", "model.arguments")) for key in acting_settings(mlp))
    assert unused_settings(own, ["model.hidden=[3]"]) == {
        "model.hidden": "model.hidden was set but is not used: model.kind=module has its own"
    }
    # What older runs had.
    settings = asdict(mlp)
    for key in ("kind", "target", "arguments"):
        del settings["model"][key]
    assert checked_settings(settings) == mlp
    assert checked_settings(asdict(own)) == own


def test_memory_is_that_of_its_parameters(make_config: MakeConfig) -> None:
    small, large = (make_config(*OWN, f"+model.arguments.width={width}") for width in (2, 200))
    assert largest_stack(small, 2**30, on_cpu=False) > largest_stack(large, 2**30, on_cpu=False)


def test_it_learns_mnist(make_config: MakeConfig, mnist_dir: str, tmp_path: Path) -> None:
    """Two convolutions, 17,722 parameters, on 3,000 samples."""
    config = make_config(
        *OWN,
        "+model.arguments.width=4",
        "benchmark=permuted_mnist",
        "benchmark.tasks=1",
        "benchmark.train_samples=3000",
        "benchmark.test_samples=1000",
        "train.epochs=2",
        "train.batch_size=32",
        "train.learning_rate=0.003",
        "fisher.samples=50",
        f"data_dir={mnist_dir}",
    )
    (run,) = trained([config], tmp_path)
    assert run.matrix[1, 0] > 0.9


@pytest.mark.parametrize("launcher", ["stacked", "slurm_local"])
def test_sweeps(launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their processes look for one's own code where the sweep was started."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "nets.py").write_text(
        "from torch import nn\n\n\ndef make(inputs, outputs, width):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, outputs))\n"
    )
    command = [sys.executable, "-m", "cl_runner", "-m", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep"]
    command += ["model=module", "model.target=mine.nets.make", "+model.arguments.width=3,4", *SMALL]
    command += ["hydra.launcher.workers=2"] if launcher == "stacked" else []
    command += ["threads=1", "device=cpu", "train.epochs=null", "train.iterations=3", "save=last"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    found = [Run(folder) for folder in sorted(tmp_path.glob("sweep/[0-9]"))]
    assert [run.config.model.arguments["width"] for run in found] == [3, 4]
    assert [len(run.network(3).state_dict()["1.bias"]) for run in found] == [3, 4]


def test_the_example_of_the_docs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "networks.md").read_text()
    (example,) = re.findall(r"```python\n(# mine/nets\.py\n.*?)```", page, flags=re.S)
    (command,) = re.findall(r"^    cl-run (model=module .*)$", page, flags=re.M)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "nets.py").write_text(example)
    small = [*SMALL[2:], "threads=1", "device=cpu", "hydra.run.dir=run", "plots=all"]
    done = subprocess.run(
        [sys.executable, "-m", "cl_runner", *command.split(), *small], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "run").table("layers.csv")
