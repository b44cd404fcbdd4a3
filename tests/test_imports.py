import hashlib
import sys
from pathlib import Path

import pytest

from cl_runner.config.imports import file_and_hash, imported
from cl_runner.errors import ConfigError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def test_modules_lie_where_the_command_was_started(here: Path) -> None:
    (here / "own_1").mkdir()
    (here / "own_1" / "nets.py").write_text("def make():\n    return 3\n")
    assert imported("model.target", "own_1.nets.make")() == 3
    assert sys.path[-1] == str(here)


def test_installed_packages_come_first(here: Path) -> None:
    (here / "hashlib.py").write_text("sha256 = None\n")
    assert imported("model.target", "hashlib.sha256") is hashlib.sha256


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("make", None, "got 'make', allowed: a dotted name, as in mine.nets.make_cnn"),
        ("own-2.make", None, "got 'own-2.make', allowed: a dotted name"),
        ("own_2.nets.make", None, "lies in {here}, and there is no module own_2"),
        ("own_3.make", "", "allowed: a name in the module own_3 ({here}/own_3.py), which has no make"),
        (
            "own_4.make",
            "import no_such_package",
            "importing own_4 fails: ModuleNotFoundError: No module named 'no_such_package' ({here}/own_4.py, line 1)",
        ),
        ("own_5.make", "1 / 0", "importing own_5 fails: ZeroDivisionError: division by zero ({here}/own_5.py, line 1)"),
        ("own_6.make", "raise SystemExit(3)", "importing own_6 fails: SystemExit: 3 ({here}/own_6.py, line 1)"),
        ("own_7.make", "def", "importing own_7 fails: SyntaxError: invalid syntax ({here}/own_7.py, line 1)"),
    ],
)
def test_what_cannot_be_imported_is_refused(here: Path, name: str, content: str | None, words: str) -> None:
    if content is not None:
        (here / f"{name.partition('.')[0]}.py").write_text(content)
    with pytest.raises(ConfigError) as error:
        imported("model.target", name)
    said = str(error.value)
    assert said.startswith("model.target: got ")
    assert words.format(here=here) in said
    assert len(said.splitlines()) == 1


def test_file_and_hash(here: Path) -> None:
    file = here / "own_8.py"
    file.write_text("def make():\n    pass\n\nthree = 3\n")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert file_and_hash(imported("model.target", "own_8.make")) == {"file": str(file), "sha256": digest}
    assert file_and_hash(imported("model.target", "own_8.three")) == {"file": None, "sha256": None}
