"""The examples do what they say."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cl_runner.engine.mlp import MLPStack
from cl_runner.results.run import load_run

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_notebook(tmp_path: Path) -> None:
    notebook = json.loads((EXAMPLES / "sweep.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    checks = [
        "assert len(runs) == 12 and runs['failed'].isna().all()",
        "assert len(mean) == 3 and (0.2 < mean).all() and (half > 0).all()",
        "assert matrix.shape == (4, 4) and abs(matrix[-1].mean() - 100 * best['average_accuracy']) < 1e-9",
        "assert len(plt.get_fignums()) == 2",
    ]
    script = "\n\n".join(["".join(cell["source"]) for cell in cells] + checks)
    (tmp_path / "sweep.py").write_text(script)
    environment = os.environ | {"MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-W", "error", "sweep.py"], cwd=tmp_path, env=environment, check=True)


def run_commands_of(example: str, folder: Path) -> None:
    """The lines of code of an example's README, as written, in `folder`, which holds a copy of the examples."""
    shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    lines = (EXAMPLES / example / "README.md").read_text().splitlines()
    script = "\n".join(line for line in lines if line.startswith("    "))
    assert script
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-euc", script], cwd=folder, env=environment, check=True, capture_output=True)


def test_a_method_of_ones_own(tmp_path: Path) -> None:
    run_commands_of("own_method", tmp_path)
    (single,) = tmp_path.glob("outputs/*/*")
    assert load_run(single).config.method.name == "si"
    jobs = [load_run(file.parent) for file in tmp_path.glob("multirun/*/*/*/metrics.json")]
    strengths = sorted(run.config.method.parts["si"]["strength"] for run in jobs)
    assert strengths == [1, 1, 10, 10]


def test_synaptic_intelligence_is_that_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES.parent)
    si = importlib.import_module("examples.own_method.si")
    stack = MLPStack([3, 4, 2], "relu", [0, 1], dtype=torch.float64)
    part = si.SynapticIntelligence(stack, [si.SISettings(strength=2.0, damping=0.3), None])
    gradients = torch.randn(5, len(stack.parameters), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    part.begin(0)
    for gradient in gradients:
        stack.gradient.copy_(gradient)
        part.on_gradient()
        # Nothing pulls in the first task.
        assert torch.equal(stack.gradient, gradient)
        stack.parameters.sub_(0.1 * gradient)
        part.on_update()
    part.end(0, torch.zeros_like(stack.parameters), 2)
    part.begin(1)
    stack.parameters.add_(0.5)
    stack.gradient.zero_()
    part.on_gradient()
    # Of gradient descent without momentum the path integral and the drift are sums over the steps.
    importance = 0.1 * gradients.square().sum(0) / ((0.1 * gradients.sum(0)).square() + 0.3)
    pulled, untouched = (stack.layout.vector(stack.gradient, row) for row in (0, 1))
    torch.testing.assert_close(pulled, 2 * 2.0 * 0.5 * stack.layout.vector(importance, 0))
    # The other row does not have this part.
    assert not untouched.any()


def test_data_and_a_network_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_commands_of("own_data_and_network", tmp_path)
    (single,) = tmp_path.glob("outputs/*/*")
    run = load_run(single)
    assert (run.config.benchmark.name, run.matrix.shape) == ("my_digits", (4, 3))
    assert run.matrix.diagonal(-1).min() > 0.9
    monkeypatch.chdir(tmp_path)
    benchmark = run.benchmark()
    inputs, labels = benchmark.test(task=2)
    active = benchmark.active_outputs(task=2, after=3)
    found = run.network(3)(inputs)[:, active].argmax(1) + active.start
    assert (found == labels).double().mean().item() == pytest.approx(run.matrix[3, 1])
    # A filter is frozen as a whole, or not at all.
    mask = run.masks[2]["0.weight"].flatten(1)
    assert torch.equal(mask, mask[:, :1].expand_as(mask))
    assert 0 < mask.double().mean() < 1
