import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cl_runner.cli.main import main
from cl_runner.results.run import load_run

QUICK = ["benchmark.tasks=2", "benchmark.train_samples=60", "train.epochs=1", "model.hidden=[8]"]


@pytest.fixture
def cl_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Runner":
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    return Runner(monkeypatch, capsys)


class Runner:
    """Calls the command line within this process; gives exit code, standard output and standard error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["cl-run", *arguments])
        self._capsys.readouterr()
        try:
            code = main()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        output = self._capsys.readouterr()
        return code, output.out, output.err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("freeze=1.5", "freeze: got 1.5, allowed: a number from 0 to 1"),
        ("freeze=nan", "freeze: got nan, allowed: a number from 0 to 1"),
        ("freeze=abc", "freeze: got abc, allowed: a number from 0 to 1"),
        ("freeze=null", "freeze: got null, allowed: a number from 0 to 1"),
        ("seed=-1", "seed: got -1, allowed: an integer"),
        ("model.hidden=[]", "model.hidden: got [], allowed: a list of integers with at least one entry"),
        ("model.hidden=[10,0]", "model.hidden: got [10, 0], allowed: a list of integers"),
        ("model.hidden=[a]", "model.hidden: got [a], allowed: a list of integers"),
        ("model.hidden=5", "model.hidden: got 5, allowed: a list of integers"),
        ("method=ewcc", "method: got 'ewcc', allowed: one of ewc, finetune, global_mask"),
        ("methods=ewc", "methods: unknown setting, allowed: benchmark, model"),
        ("+lrr=3", "lrr: unknown setting, allowed: benchmark, model, train"),
        ("lrr=3", "lrr: unknown setting, allowed: benchmark, model, train"),
        ("train.lrr=3", "train.lrr: unknown setting, allowed: epochs, first_epochs, iterations"),
        ("+train.lrr=3", "train.lrr: unknown setting, allowed: epochs, first_epochs, iterations"),
        ("train.learning_rates=3", "did you mean train.learning_rate?"),
        ("~train.epochs", "train.epochs: cannot be taken out by ~, allowed: an integer from 1 to 10000000, or null"),
        ("fisher.samples=0", "fisher.samples: got 0, allowed: an integer from 1 to 10000000, or null"),
        ("fisher.estimator=exactly", "fisher.estimator: got exactly, allowed: one of exact, sampled"),
        ("benchmark.tasks=0", "benchmark.tasks: got 0, allowed: an integer from 1 to 10000"),
        ("benchmark.tasks=1.5", "benchmark.tasks: got 1.5, allowed: an integer from 1 to 10000"),
        ("benchmark.tasks=null", "benchmark.tasks: got null, allowed: an integer from 1 to 10000"),
        ("benchmark.normalize=maybe", "benchmark.normalize: got maybe, allowed: true or false"),
        ("benchmark.scenario=both", "benchmark.scenario: got both, allowed: one of domain, task, class"),
        ("benchmark.train_samples=5000", "benchmark.train_samples: got 5000, allowed: at most 1287, or null"),
        ("benchmark.train_samples=1288", "benchmark.train_samples: got 1288, allowed: at most 1287, or null for all"),
        ("train.batch_size=0", "train.batch_size: got 0, allowed: an integer from 1"),
        ("train.learning_rate=0", "train.learning_rate: got 0.0, allowed: a number above 0"),
        ("train.iterations=5", "train.iterations: got 5 with train.epochs=10, allowed: one of the two; set the other"),
        ("train.epochs=null", "train.epochs: got null with train.iterations=null, allowed: one of the two set"),
        ("~freeze", "freeze: got nothing, allowed: a number from 0 to 1"),
        ("model.hidden=10,20", "a list is key=[a,b], a sweep over values needs -m"),
        ("model.hidden=[100000]", "model.hidden: got [100000], allowed: a list of integers"),
        ("method.joint=true", "method.joint: got true with method.penalty=ewc"),
        ("device=tpu", "device: got tpu, allowed: one of auto, cpu, cuda, mps"),
        ("threads=0", "threads: got 0, allowed: an integer from 1 to 1024, or null"),
        ("freeze", "'freeze' is not a setting, allowed: settings as key=value"),
    ],
)
def test_bad_setting_is_one_line_and_creates_nothing(
    setting: str, message: str, cl_run: Runner, tmp_path: Path
) -> None:
    code, _, error = cl_run("method=ewc", setting)
    assert code == 2
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_split_needs_enough_classes(cl_run: Runner) -> None:
    code, _, error = cl_run("benchmark=split_digits", "benchmark.tasks=6")
    assert code == 2
    assert "benchmark.tasks: got 6 with benchmark.classes_per_task=2, allowed: at most 10 classes in all" in error


@pytest.mark.parametrize(
    ("launcher", "setting", "message"),
    [
        ("slurm", "mem_gb=-1", "hydra.launcher.mem_gb: got -1.0, allowed: a number above 0, at most 1e+06, or null"),
        ("slurm", "mem_gb=much", "hydra.launcher.mem_gb: got much, allowed: a number above 0, at most 1e+06, or null"),
        ("slurm", "wait=perhaps", "hydra.launcher.wait: got perhaps, allowed: true or false"),
        ("slurm", "partitions=x", "hydra.launcher.partitions: unknown setting, allowed: "),
        ("slurm", "partitions=x", " (did you mean hydra.launcher.partition?)"),
        ("slurm_local", "array_parallelism=0", "hydra.launcher.array_parallelism: got 0, allowed: an integer from 1"),
        ("slurm_local", "mem_gb=1", "hydra.launcher.mem_gb: unknown setting, allowed: size, wait, array_parallelism"),
    ],
)
def test_bad_settings_of_a_launcher(launcher: str, setting: str, message: str, cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run("-m", f"hydra/launcher={launcher}", f"hydra.launcher.{setting}", "seed=0,1")
    assert code == 2
    assert error.startswith("error: hydra.launcher.")
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_slurm")
def test_slurm_where_there_is_none(cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run("-m", "hydra/launcher=slurm", "seed=0,1")
    assert code == 2
    assert error == (
        "error: hydra/launcher: got slurm, but this machine has no SLURM (sbatch is not found), "
        "allowed: stacked, slurm_local\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="this machine has a CUDA GPU")
def test_a_gpu_that_is_not_there(cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run("device=cuda")
    assert code == 2
    assert error == "error: device: got cuda, which this machine does not have, allowed here: auto, cpu\n"
    assert list(tmp_path.iterdir()) == []


def test_run_shows_matrix_metrics_and_path(cl_run: Runner, tmp_path: Path) -> None:
    code, output, _ = cl_run("method=layerwise_mask", "freeze=0.9", *QUICK)
    assert code == 0
    (directory,) = tmp_path.glob("outputs/*/*")
    assert "average_accuracy" in output
    assert str(directory) in output
    shown = [
        float(word)
        for line in output.splitlines()
        if line.startswith("│ task 2")
        for word in line.split()
        if word.replace(".", "").isdigit() and "." in word
    ]
    assert shown == pytest.approx((100 * load_run(directory).matrix[2]).tolist(), abs=0.051)


def test_unused_setting_draws_one_line(cl_run: Runner) -> None:
    code, output, _ = cl_run("method=ewc", "freeze=0.9", *QUICK)
    assert code == 0
    assert "warning: freeze was set but is not used: method=ewc has no mask (method.mask=none)\n" in output


def test_a_finished_run_is_not_overwritten(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run("hydra.run.dir=here", *QUICK)[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, _, error = cl_run("hydra.run.dir=here", "seed=1", *QUICK)
    assert code == 2
    assert error == "error: hydra.run.dir: here holds a finished run, allowed: another directory\n"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_unfinished_run_is_started_anew(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run("hydra.run.dir=here", "benchmark.tasks=3", *QUICK[1:])[0] == 0
    (tmp_path / "here" / "metrics.json").unlink()
    (tmp_path / "here" / "checkpoints" / "mine.txt").write_text("not of this run")
    assert cl_run("hydra.run.dir=here", *QUICK)[0] == 0
    run = load_run(tmp_path / "here")
    assert run.matrix.shape == (3, 2)
    assert sorted(run.significance) == [1, 2]
    assert (tmp_path / "here" / "checkpoints" / "mine.txt").exists()


def test_a_sweep_leaves_a_run_for_each_setting(cl_run: Runner, tmp_path: Path) -> None:
    sweep = ["-m", "method=global_mask", "freeze=0.1,0.6", "hydra.sweep.dir=sweep", *QUICK]
    assert cl_run(*sweep)[0] == 0
    runs = [load_run(tmp_path / "sweep" / number) for number in "01"]
    assert [run.config.freeze for run in runs] == [0.1, 0.6]
    code, _, error = cl_run(*sweep)
    assert code == 2
    assert error == (
        "error: hydra.sweep.dir: sweep holds finished runs, allowed: another directory, or "
        "hydra/launcher=stacked, slurm or slurm_local, which run what is missing\n"
    )


def test_a_bad_job_of_a_sweep_fails_and_the_others_go_on(cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run("-m", "method=global_mask", "freeze=1.5,0.6", "hydra.sweep.dir=sweep", *QUICK)
    assert code == 2
    assert "freeze: got 1.5, allowed: a number from 0 to 1" in error
    assert load_run(tmp_path / "sweep" / "1").config.freeze == 0.6
    assert not (tmp_path / "sweep" / "0" / "metrics.json").exists()


def test_divergence_stops_and_keeps_what_was_recorded(cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run("train.optimizer=sgd", "train.learning_rate=1e30", "hydra.run.dir=here", *QUICK)
    assert code == 1
    assert (
        "error: the loss became infinite or not a number in task 1, epoch 1: try a smaller train.learning_rate" in error
    )
    assert len((tmp_path / "here" / "accuracy.csv").read_text().splitlines()) == 3
    assert not (tmp_path / "here" / "metrics.json").exists()
    with pytest.raises(FileNotFoundError, match="holds no finished run"):
        load_run(tmp_path / "here")


def test_missing_data_is_one_line(cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.mnist, "download_and_extract_archive", refuse)
    monkeypatch.setenv("CL_RUNNER_DATA", str(tmp_path / "nowhere"))
    code, _, error = cl_run("benchmark=permuted_mnist")
    assert code == 1
    assert error.startswith(
        f"error: mnist is not in {tmp_path / 'nowhere'} and could not be downloaded (no route to host)"
    )
    assert error.count("\n") == 1
    assert not (tmp_path / "nowhere").exists()


def test_own_presets_from_a_config_dir(cl_run: Runner, tmp_path: Path) -> None:
    (tmp_path / "mine" / "method").mkdir(parents=True)
    preset = "# @package _global_\ndefaults:\n  - global_mask\n\nfreeze: 0.25\nmethod:\n  unit: neuron\n"
    (tmp_path / "mine" / "method" / "quarter.yaml").write_text(preset)
    assert cl_run("--config-dir", "mine", "method=quarter", "hydra.run.dir=here", *QUICK)[0] == 0
    config = load_run(tmp_path / "here").config
    assert (config.freeze, config.method.mask, config.method.unit) == (0.25, "global", "neuron")


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("a: [\n", "wrong.yaml, line 2: not valid YAML: "),
        ("name: x\nbogus: 1\n", "method.bogus: unknown setting (in method/wrong.yaml), allowed: name, joint"),
        ("name: x\ngamma: lots\n", "method.gamma: got lots (in method/wrong.yaml), allowed: a number from 0 to 1"),
        ("name: x\n", "method.joint: got nothing, allowed: true or false"),
    ],
)
def test_a_wrong_preset_is_named_in_one_line(preset: str, message: str, cl_run: Runner, tmp_path: Path) -> None:
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "method" / "wrong.yaml").write_text(preset)
    code, _, error = cl_run("--config-dir", "mine", "method=wrong")
    assert code == 2
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_output_directory_that_cannot_be_made(cl_run: Runner, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, error = cl_run("hydra.run.dir=file", *QUICK)
    assert code == 1
    assert error == "error: file: File exists\n"


def test_interrupting_keeps_what_was_recorded(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cl_runner", "hydra.run.dir=here", "train.epochs=100000"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    training = tmp_path / "here" / "training.csv"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (training.exists() and len(training.read_text().splitlines()) > 2):
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert error == "interrupted; what was recorded stays, and the same command goes on from it\n"
    assert len(training.read_text().splitlines()) > 2
    assert not (tmp_path / "here" / "metrics.json").exists()


def test_help_and_bad_settings_do_not_import_torch(tmp_path: Path) -> None:
    for arguments, expected in ((["--help"], 0), (["freeze=2"], 2)):
        code = (
            f"import sys; sys.argv = ['cl-run', *{arguments}]\n"
            "from cl_runner.cli.main import main\n"
            "try:\n    code = main()\nexcept SystemExit as leaving:\n    code = leaving.code or 0\n"
            f"assert code == {expected}, code\n"
            "assert not {'torch', 'numpy', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        )
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_a_digits_run_imports_nothing_that_takes_long_but_torch(tmp_path: Path) -> None:
    arguments = ["cl-run", "hydra.run.dir=here", "plots=none", *QUICK]
    slow = {"torchvision", "torch._dynamo", "sklearn", "scipy", "pandas"}
    code = (
        f"import sys; sys.argv = {arguments}\nfrom cl_runner.cli.main import main\n"
        f"assert main() == 0\nassert not {slow} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_the_same_command_gives_the_same_numbers(cl_run: Runner, tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert cl_run("method=l1_sparsity", "freeze=0.3", f"hydra.run.dir={name}", *QUICK)[0] == 0
    for file in ("accuracy.csv", "metrics.json", "significance/task_2.safetensors", "checkpoints/task_2.safetensors"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
