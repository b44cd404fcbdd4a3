"""One real run on MNIST, and the published order of what it shows."""

import sys
from pathlib import Path

import pytest

from cl_runner.cli.main import main
from cl_runner.results.run import load_run


def test_permuted_mnist_from_the_command_line(
    mnist_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    settings = [
        "benchmark=permuted_mnist",
        "benchmark.tasks=2",
        "method=global_mask",
        "freeze=0.5",
        "hydra.run.dir=here",
    ]
    monkeypatch.setattr(sys, "argv", ["cl-run", *settings, f"data_dir={mnist_dir}"])
    assert main() == 0
    run = load_run(tmp_path / "here")
    # A network of 3 × 100 ReLU units reaches about 95% after an epoch.
    assert run.matrix[1, 0] > 0.94
    assert run.matrix[2, 1] > 0.92
    assert run.matrix[2, 0] > 0.85
    # Untrained, and on the task to come: chance.
    assert run.matrix[0].max() < 0.25
    assert run.matrix[1, 1] < 0.25
    assert "here" in capsys.readouterr().out
