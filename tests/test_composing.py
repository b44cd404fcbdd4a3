"""Jobs composed from what they have in common are what Hydra composes of each, down to the files in `.hydra/`."""

import logging
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode
from omegaconf import Container, DictConfig, ListConfig, OmegaConf

from cl_runner.config.composing import Composed, Composer
from cl_runner.config.hydra_files import HydraFiles
from cl_runner.config.hydra_internals import LOADER
from cl_runner.config.presets import VERSION_BASE, config_dir

PRESETS = sorted(path.stem for path in config_dir().glob("experiment/*.yaml"))
VALUES = ["freeze=0.3", "seed=7", "method.ewc_lambda=3", "model.hidden=[20,30]"]
OWN = {
    "method/careful.yaml": "defaults: [ewc, _self_]\newc_lambda: 7\nparts: {mine: {_target_: a.B, x: 1}}\n",
    # Also the name of a setting.
    "threads/two.yaml": "# @package _global_\noversubscribe: true\n",
    "experiment/mine.yaml": (
        "# @package _global_\ndefaults:\n  - base/mnist\n  - override /method: careful\n  - override /train: digits\n"
        "seed: ${oc.env:COMPOSED_SEED,3}\nmodel: {hidden: [5, '${seed}']}\n"
        "hydra: {job: {env_copy: [HOME], env_set: {A: b}}, sweep: {subdir: 'job_${hydra.job.num}'}}\n"
    ),
}
NASTY = [
    ["seed=${oc.env:HOME}"],
    ["model.hidden=[${seed},4]", "seed=5"],
    ["train.epochs=null", "train.iterations=10"],
    ["data_dir='a b, c=d'", 'method.name="it\'s \\"so\\""'],
    ["data_dir=${hydra.runtime.cwd}/data", "method.name=${hydra:job.name}"],
    ["data_dir='" + "wörter_🎈_" * 20 + "'"],
    ["data_dir='" + "word " * 60 + "'"],
    ["method.name='two\nlines'"],
    ["method.name='???'", "seed=1"],
    ["method.name=on", "model.name='1e3'", "benchmark.name='null'"],
    ["seed=1", "seed=2"],
    ["method=ewc", "method=l2"],
    ["freeze=0.1", "method=ewc", "freeze=0.2", "benchmark=split_digits"],
    ["train={epochs:3,batch_size:null}", "model={hidden:[1,2,3]}"],
    ["method={ewc_lambda:2}", "method=ewc"],
    ["++method.parts.si._target_=mine.si.Part", "++method.parts.si.strength=0.1"],
    ["+method.parts.si={_target_:mine.si.Part,deep:{list:[1,{a:b}],none:null}}"],
    ["+extra=1"],
    ["++extra.deep.er=[]"],
    ["~fisher"],
    ["method=careful", "~method.parts.mine.x"],
    ["method=careful", "~method.parts.mine.x=1", "seed=2"],
    ["~experiment"],
    ["experiment=mine", "freeze=0.25"],
    ["method=careful", "++method.parts.mine.y=3"],
    ["+threads=two"],
    ["hydra.job.name=other", "seed=1"],
    ["hydra.job.chdir=true"],
    ["++hydra.job.env_set.B=c"],
    ["hydra.sweep.subdir=x_${seed}", "seed=4"],
    ["hydra/job_logging=disabled"],
    ["hydra={verbose:true}"],
    ["seed=int(2.7)"],
]
WRONG = [
    ["+data_dir=there"],
    ["~model.dropout"],
    ["~threads=4"],
    ["method=careful", "~method.parts.mine.x=2"],
    ["+benchmark@second=split_digits"],
    ["model@method=mlp"],
    ["experiment=null", "seed=3"],
    ["+experiment=ten_tasks"],
    ["method=careful", "method.parts.mine.x=2", "method.parts.mine.y=3"],
    ["threads=two"],
    ["threads=2"],
    ["seed=1,2"],
    ["nosuch=1"],
    ["method=nosuch"],
    ["seed=word"],
    ["seed"],
    ["seed=[1"],
    ["freeze="],
    ["model.hidden=5"],
]

JOBS = [[f"experiment={preset}", *VALUES] for preset in PRESETS] + NASTY


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `--config-dir` may name."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in OWN.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def loader(own: Path) -> Iterator[ConfigLoader]:
    with initialize_config_dir(str(config_dir()), **VERSION_BASE):
        places = GlobalHydra.instance().config_loader().get_search_path()
        # As Hydra does for `--config-dir`.
        places.prepend("command-line", f"file://{own}", SearchPathQuery(provider="schema"))
        yield LOADER(places)


@cache
def sweep_of(loader: ConfigLoader, *presets: str) -> DictConfig:
    given = ["hydra/launcher=stacked", "seed=1,2", "hydra.job.config.override_dirname.exclude_keys=[seed]", *presets]
    found = loader.load_configuration("config", given, RunMode.MULTIRUN)
    # Times that are told once are so in all jobs.
    assert found.hydra.sweep.dir
    assert found.hydra.run.dir
    return found


@cache
def composer_of(loader: ConfigLoader, *presets: str) -> Composer:
    return Composer(loader, sweep_of(loader, *presets))


def sweep_within(overrides: list[str]) -> list[str]:
    """Those of a job's overrides that its sweep has too: a preset may be of a sweep."""
    return [line for line in overrides if line.startswith("experiment=") and line != "experiment=null"]


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = handlers, level


@pytest.mark.parametrize("overrides", JOBS + WRONG, ids=" ".join)
def test_a_job_is_what_hydra_composes(loader: ConfigLoader, overrides: list[str]) -> None:
    presets = sweep_within(overrides)
    sweep, composer = sweep_of(loader, *presets), composer_of(loader, *presets)
    expected = outcome(lambda: loader.load_sweep_config(sweep, overrides))
    # The second time all is known.
    for _ in range(2):
        found = outcome(lambda: composer.composed(overrides))
        if not isinstance(expected, DictConfig):
            assert found == expected
            continue
        assert isinstance(found, Composed)
        assert described(found.whole) == described(expected)
        assert resolved(found.whole) == resolved(expected)
        assert described(found.settings) == {key: part for key, part in described(expected).items() if key != "hydra"}


def test_jobs_do_not_share_what_they_are_given(loader: ConfigLoader) -> None:
    composer = composer_of(loader)
    one, two = composer.composed(["seed=1"]), composer.composed(["seed=2"])
    one.settings.model.hidden.append(5)
    one.whole.hydra.job.num = 8
    again = composer.composed(["seed=1"])
    assert (two.settings.seed, again.settings.seed) == (2, 1)
    assert two.settings.model.hidden == again.settings.model.hidden != one.settings.model.hidden
    assert OmegaConf.is_missing(two.whole.hydra.job, "num")


def test_hydra_composes_each_choice_of_presets_once(loader: ConfigLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    hydras = loader.load_sweep_config

    def load(master: DictConfig, overrides: list[str]) -> DictConfig:
        asked.append(overrides)
        return hydras(master, overrides)

    monkeypatch.setattr(loader, "load_sweep_config", load)
    composer = Composer(loader, sweep_of(loader))
    for method in ("ewc", "careful"):
        for seed in range(3):
            assert composer.composed([f"seed={seed}", f"method={method}", f"++method.parts.a.b={seed}"]).whole
    assert asked == [["method=ewc"], ["method=careful"]]


@pytest.mark.parametrize("overrides", JOBS, ids=" ".join)
@pytest.mark.usefixtures("logging_as_before")
def test_a_job_leaves_the_files_that_hydra_writes(
    loader: ConfigLoader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    composed = loader.load_sweep_config(sweep_of(loader, *sweep_within(overrides)), overrides)
    composed.hydra.sweep.dir, composed.hydra.job.num, composed.hydra.job.id = "sweep", 3, "3"
    subdir = composed.hydra.sweep.subdir
    silent = HydraContext(loader, Callbacks())
    run_job(lambda _: None, composed.copy(), "hydra.sweep.dir", "hydra.sweep.subdir", silent)
    Path("sweep").rename("hydras")
    files = HydraFiles()
    for _ in range(2):
        # The second time the lines of YAML are known.
        files.write(composed.copy())
        assert contents(Path("sweep", subdir)) == contents(Path("hydras", subdir))
    assert {".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"} <= contents(
        Path("sweep", subdir)
    ).keys()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"a": {}, "b": [], "c": None, "d": ""},
        {"x" * 200: {"a": 1}, "x" * 127: {"a": 1}, "two\nlines": {"a": 1}, "": {"a": 1}, "?": {"a": 1}},
        {1: {True: 1, 1.5: "1.5"}, "a": {"1": "1", "True": "1"}, "yes": {"no": "on"}},
        {"a": {"x": 1}, "b": {"x": True}, "c": {"x": 1.0}, "d": {"x": "1"}, "e": {"x": -0.0}, "f": {"x": 0.0}},
        {"deep": {"er": {"and": {"so": {"on": ["long " * 30, {"a": ["b " * 50]}], "it": "goes " * 40}}}}},
        {
            "a": float("inf"),
            "b": "${a}",
            "c": "tab\t",
            "d": " space ",
            "e": "#no",
            "f": "a: b",
            "g": "- a",
            "h": "é\u2028",
        },
    ],
)
def test_lines_of_yaml_are_those_of_omegaconf(settings: dict[Any, Any]) -> None:
    files = HydraFiles()
    for _ in range(2):
        assert files.as_yaml(settings) == OmegaConf.to_yaml(settings)


def outcome(compose: Callable[[], DictConfig | Composed]) -> DictConfig | Composed | tuple[type, str]:
    """What is composed, or the error."""
    try:
        return compose()
    except Exception as error:
        return type(error), str(error)


def described(config: DictConfig) -> dict[str, Any]:
    """All that makes a config what it is, by the names of its nodes."""
    found: dict[str, Any] = {"": about(config)}
    for name in map(str, config):
        found[name] = about(config._get_node(name))
    return found


def about(node: Any) -> Any:
    """Its class, its type and flags, and its value, or those in it; of the root without."""
    known = type(node), node._metadata
    if not isinstance(node, Container) or node._is_interpolation() or node._is_missing() or node._is_none():
        return *known, type(node._value()), node._value()
    if node._get_parent() is None:
        return known
    if isinstance(node, DictConfig):
        return *known, [(key, about(node._get_node(key))) for key in node]
    assert isinstance(node, ListConfig)
    return *known, [about(node._get_node(index)) for index in range(len(node))]


def resolved(config: DictConfig) -> Any:
    """The values that a job is trained with, or what Hydra says of those that cannot be looked up."""
    try:
        return OmegaConf.to_container(config, resolve=True)
    except Exception as error:
        return type(error), str(error)


def contents(directory: Path) -> dict[str, str]:
    """The text of each file by its name."""
    return {
        path.relative_to(directory).as_posix(): path.read_text(encoding="utf-8")
        for path in directory.rglob("*")
        if path.is_file()
    }
