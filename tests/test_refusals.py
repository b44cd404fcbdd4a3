"""Each kind of error that Hydra, OmegaConf or YAML raises over a command line or a preset is one line that names it."""

from pathlib import Path

import pytest
from test_cli import QUICK, Runner, cl_run

from cl_runner.results.files import COMPLETE

__all__ = ["cl_run"]

COMMANDS = {
    # Hydra: choices and the list of defaults.
    "method=nosuch": "method: got 'nosuch', allowed: one of ewc, finetune",
    "method=": "method: got '', allowed: one of ewc",
    "method=3": "method: got 3 (Config group override must be a string or a list",
    "method=null": "method: got null (",
    "+method=ewc": "method: is chosen already, allowed: method=VALUE, without the +",
    "+experiment=pile_up": "experiment: is chosen already, allowed: experiment=VALUE, without the +",
    "++method=ewc": "method: got ++, allowed: method=ewc, without the +",
    "~method=ewc": "method: is not chosen, and cannot be taken out by ~",
    "~method": "method: got nothing, allowed: the name of one of its options",
    "method@foo=ewc": "method@foo: unknown setting, allowed: benchmark",
    "nosuch@pkg=3": "nosuch: unknown setting, allowed: benchmark",
    "nosuch/group=3": "nosuch/group: unknown setting, allowed: benchmark",
    "hydra/launcher=nosuch": "hydra/launcher: got 'nosuch', allowed: one of basic, slurm, slurm_local, stacked",
    "train=${nosuch}": "Error resolving interpolation '${nosuch}', possible interpolation keys",
    # Hydra: overrides of settings.
    "a.b.c=1": "a: unknown setting, allowed: benchmark",
    "+seed=3": "seed: got +, allowed: seed=VALUE, without the +",
    "~nosuch": "nosuch: unknown setting, allowed: benchmark",
    "~seed=1": "seed: got ~seed=1, but it is 0, allowed: an integer",
    "~hydra.run": "hydra.run: cannot be taken out by ~, allowed: its settings dir",
    "seed=1,2": "seed: got 1,2, allowed: an integer from 0 to 9223372036854775807; a list is key=[a,b], a sweep",
    "seed=range(0,3)": "seed: got range(0,3), allowed: an integer",
    "model.hidden.a=3": "model.hidden.a: got 3 (invalid literal for int()",
    # Hydra: its own settings.
    "hydra.nosuch=1": "hydra.nosuch: unknown setting, allowed: mode, searchpath, run",
    "hydra.run.nosuch=1": "hydra.run.nosuch: unknown setting, allowed: dir",
    "hydra.mode=nosuch": "hydra.mode: got nosuch, allowed: one of RUN, MULTIRUN, or null",
    "hydra.job.chdir=maybe": "hydra.job.chdir: got maybe, allowed: true or false",
    "hydra.job.env_set.x=1": "hydra.job.env_set.x: there is no such entry, allowed: +hydra.job.env_set.x=VALUE",
    "hydra.job.env_copy=[NOPE]": "hydra.job.env_copy: there is no 'NOPE'",
    "hydra.searchpath=3": "hydra.searchpath must be a list of strings. Got: 3",
    "hydra.callbacks.check._target_=nosuch": "hydra.callbacks.check: Error loading 'nosuch'",
    "+hydra.callbacks.mine=3": "hydra.callbacks: Cannot instantiate config of type int",
    "hydra.job_logging.version=7": "hydra.job_logging: Unsupported version: 7",
    "hydra.hydra_logging.root.level=LOUD": "hydra.hydra_logging: Unable to configure root logger (Unknown level:",
    # Hydra's grammar.
    "seed=[1,2": "seed: got [1,2, which is no value in Hydra's grammar, allowed: an integer",
    "hydra.run.dir=a=b": """in quotes it may have any characters: 'hydra.run.dir="a=b"'""",
    "hydra.run.dir=a;b": "hydra.run.dir: got a;b, which is no value in Hydra's grammar, allowed: a word",
    "seed=int(abc)": "no value in Hydra's grammar (invalid literal for int() with base 10: 'abc')",
    "seed=nosuch(3)": "no value in Hydra's grammar (Unknown function 'nosuch')",
    "seed=range(1,x=2,3)": "no value in Hydra's grammar (positional argument follows keyword argument)",
    "train[0]=3": "train[0]",
    "=3": "'=3' is not a setting, allowed: settings as key=value",
    "+@=": "'+@=' is not a setting, allowed: settings as key=value",
    # OmegaConf: types and interpolations.
    "seed=abc": "seed: got abc, allowed: an integer",
    "model.hidden=[1,[2]]": "model.hidden: got [1, [2]], allowed: a list of integers",
    "model.hidden=${seed}": "model.hidden: ",
    "model.hidden.9=3": "model.hidden: got 3, allowed: a list of integers",
    "train.epochs={}": "train.epochs: got {}, allowed: an integer",
    "seed=${nosuch}": "seed: Interpolation key 'nosuch' not found, allowed: an integer",
    "seed=${oc.env:NOPE}": "seed: KeyError raised while resolving interpolation",
    "seed=${oc.env:PATH}": "seed: While dereferencing interpolation",
    "seed=${nosuch:1}": "seed: Unsupported interpolation type nosuch, allowed: an integer",
    "seed=${seed}": "seed: Recursive interpolation detected, allowed: an integer",
    "seed=${oc.decode:[1}": "seed: missing BRACKET_CLOSE at '}', allowed: an integer",
    "hydra.run.dir=${nosuch}": "hydra.run.dir: Interpolation key 'nosuch' not found, allowed: a word",
    # Upper ends.
    "train.epochs=99999999999999999999": "train.epochs: got 99999999999999999999, allowed: an integer from 1 to",
    "train.weight_decay=1e308": "train.weight_decay: got 1e+308, allowed: a number from 0 to 1e+30",
    f"benchmark.tasks=1{400 * '0'}": "allowed: an integer from 1 to 10000",
    # Options.
    "--nosuch": "unrecognized arguments: --nosuch; see cl-run --help",
    "--config-dir=nosuch": "--config-dir: Additional config directory",
    "--config-name=nosuch": "--config-name: got nosuch, allowed: config",
    "--config-path=nosuch": "--config-path: Primary config module 'cl_runner.cli.nosuch' not found",
    "--resolve": "The --resolve flag can only be used in conjunction with --cfg or --help",
}


@pytest.mark.parametrize("argument", COMMANDS)
def test_a_wrong_argument(argument: str, cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run(argument)
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith("error: ")
    assert COMMANDS[argument] in error
    # Hydra sets up a job's directory before its log.
    assert argument.startswith("hydra.job_logging") or not list(tmp_path.iterdir())


GLOBAL = "# @package _global_\n"
PRESETS: dict[str, tuple[str | bytes, str]] = {
    "list": ("- a\n", "method/list.yaml: Invalid type assigned: list is not a subclass of MethodConfig"),
    "list_of_all": (GLOBAL + "- a\n", "method/list_of_all.yaml: Cannot merge"),
    "number": ("3\n", "mine/method/number.yaml: Invalid loaded object type: int"),
    "empty": ("", "method.name: got nothing, allowed: a word"),
    "binary": (bytes(range(256)), "mine/method/binary.yaml: 'utf-8' codec can't decode byte 0x80"),
    "nul": (b"name: x\0y\n", "mine/method/nul.yaml: not valid YAML: "),
    "latin": ("name: \xe9\n".encode("latin1"), "mine/method/latin.yaml: 'utf-8' codec can't decode"),
    "tabs": ("a:\n\tb: 1\n", "mine/method/tabs.yaml, line 2: not valid YAML: found character"),
    "twice": ("name: a\nname: b\n", "mine/method/twice.yaml, line 2: not valid YAML: found duplicate key name"),
    "no_package": ("freeze: 0.5\n", "method.freeze: unknown setting (in method/no_package.yaml), allowed: name, joint"),
    "unknown": (GLOBAL + "nosuch: 1\n", "nosuch: unknown setting (in method/unknown.yaml), allowed: benchmark"),
    "of_hydra": (GLOBAL + "hydra: {run: {x: 1}}\n", "hydra.run.x: unknown setting (in method/of_hydra.yaml)"),
    "kind": (GLOBAL + "method: {gamma: lots}\n", "method.gamma: got lots (in method/kind.yaml), allowed: a number"),
    "no_key": (GLOBAL + "null: 4\n", "mine/method/no_key.yaml: Incompatible key type 'NoneType'"),
    "set": (GLOBAL + "method: {name: !!set {a}}\n", "method.name: got {'a'} (in "),
    "broken": (GLOBAL + "seed: '${oc.decode:[1'\n", "seed: mismatched input '<EOF>' expecting BRACKET_CLOSE (in "),
    "itself": (GLOBAL + "method: &a\n  name: *a\n", "mine/method/itself.yaml"),
    "header": ("# @package\nname: x\n", "mine/method/header.yaml: Expected header format: KEY VALUE"),
    "searched": (GLOBAL + "hydra: {searchpath: [x]}\n", "In 'method/searched': Overriding hydra.searchpath is only"),
    "circular": (GLOBAL + "defaults: [circular]\n", "method/circular.yaml: it leads back to itself"),
    "absent": (GLOBAL + "defaults: [x]\n", "method/x: there is no such preset (in method/absent.yaml), allowed"),
    "option": (
        GLOBAL + "defaults: [ewc, {/model: x}]\n",
        "model: got 'x' (in method/option.yaml), allowed: one of mlp",
    ),
    "again": (
        GLOBAL + "defaults: [ewc, {/train: mnist}]\n",
        "in a preset's defaults: override /train: NAME",
    ),
    "group": (GLOBAL + "defaults: [ewc, override /x: y]\n", " (in method/group.yaml), allowed: "),
    "first": (
        GLOBAL + "defaults: [override /train: mnist, ewc]\n",
        "In method/first: Override 'train : mnist' is defin",
    ),
    "entry": (GLOBAL + "defaults: [3]\n", "mine/method/entry.yaml: Unsupported type in defaults : int"),
    "value": (GLOBAL + "defaults: [{/train: 3}]\n", "mine/method/value.yaml: Unsupported item value in defaults"),
    "scalar": (GLOBAL + "defaults: 3\n", "defaults must be a list (got int)"),
    "open": (GLOBAL + "defaults: [ewc, {/experiment@x: '???'}]\n", "experiment@x: got nothing"),
    "self": (GLOBAL + "defaults: [ewc, _self_, _self_]\n", "Duplicate _self_ defined in method/self"),
    "looked_up": (GLOBAL + "defaults: ['${x}']\n", "Error resolving interpolation "),
    "callback": (GLOBAL + "hydra: {callbacks: {a: {_target_: x.y}}}\n", "hydra.callbacks.a: Error loading 'x.y'"),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_wrong_preset(name: str, cl_run: Runner, tmp_path: Path) -> None:
    content, message = PRESETS[name]
    (tmp_path / "mine" / "method").mkdir(parents=True)
    file = tmp_path / "mine" / "method" / f"{name}.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, _, error = cl_run("--config-dir", "mine", f"method={name}")
    assert (code, error.count("\n")) == (2, 1)
    assert message in error
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


SWEEPS = {
    "seed=${nosuch}": "seed: Interpolation key 'nosuch' not found",
    "seed=interval(0,1)": "seed=interval(0,1): got a sweep over all of an interval, allowed: some values",
    "seed=range(0,3,0)": "seed=range(0,3,0): range() arg 3 must not be zero",
    "seed=range(3,0)": "seed=range(3,0): got a sweep over nothing",
    "seed=range(0,1e9)": "seed: got a sweep of more than 100000 jobs",
    "method=glob(nosuch*)": "method=glob(nosuch*): got a sweep over nothing",
    "hydra.sweep.dir=a,b": "hydra.sweep.dir: got a,b, allowed: one value",
    "hydra.sweeper.max_batch_size=0": "hydra.sweeper.max_batch_size: got 0, allowed: an integer from 1",
    "hydra.sweeper.nosuch=1": "hydra.sweeper.nosuch: unknown setting, allowed: max_batch_size, params, grids",
    "hydra.sweeper=3": "hydra.sweeper: ",
    "hydra.launcher.size=3": "hydra.launcher.size: unknown setting, allowed: no settings",
    "experiment=ten_tasks,pile_up": "experiment: got ten_tasks,pile_up, and ten_tasks is a sweep of its own",
}


@pytest.mark.parametrize("argument", SWEEPS)
def test_a_wrong_sweep(argument: str, cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run("-m", argument)
    assert (code, error.count("\n")) == (2, 1)
    assert SWEEPS[argument] in error
    assert not list(tmp_path.iterdir())


def test_a_config_of_ones_own_is_not_passed_over(cl_run: Runner, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("seed: 3\n")
    code, _, error = cl_run("--config-dir", "mine")
    assert code == 2
    assert error.startswith("error: --config-dir: got mine, whose config.yaml would not be read")


def test_an_error_of_our_own_keeps_its_traceback(
    cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr("cl_runner.cli.main._train", fail)
    code, _, error = cl_run("hydra.run.dir=here")
    assert (code, error.count("\n")) == (1, 1)
    assert error.startswith(f"error: ValueError: a fault of ours ({__file__}, line ")
    assert error.endswith(" (its traceback is in cl_runner.log)\n")
    assert "in fail\n" in (tmp_path / "here" / "cl_runner.log").read_text()


def test_a_tilde_is_the_home(cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home of mine"))
    monkeypatch.setattr("cl_runner.cli.main._train", lambda *_: None)
    assert cl_run("hydra.run.dir=~/x")[0] == 0
    assert (tmp_path / "home of mine" / "x" / ".hydra").exists()


def test_options_may_stand_between_overrides(cl_run: Runner, tmp_path: Path) -> None:
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "method" / "mine.yaml").write_text("defaults: [base/plain]\nname: mine\n")
    run = ["hydra.run.dir=run", "--config-dir", "mine", *QUICK, "method=mine", "plots=none"]
    assert cl_run(*run)[0] == 0
    assert (tmp_path / "run" / COMPLETE).exists()
