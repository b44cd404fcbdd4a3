"""The order of the rooms: arrows between modules go one way, and no module is too long to read."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cl_runner"
# From the ground up: a room may import from those before it, and the modules beside them in it.
ROOMS = ["", "config", "engine", "benchmarks", "methods", "results", "runs", "sweeps", "report", "cli"]
MODULES = sorted(file.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py"))
# The doors: what the package is called by, from the ground floor.
DOORS = {"__init__", "__main__", "testing"}


def imported(module: Path) -> Iterator[tuple[str, ...]]:
    """The modules of the package that one imports, as paths."""
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, *path = name.split(".")
            if package != "cl_runner":
                continue
            while path and not PACKAGE.joinpath(*path).with_suffix(".py").exists():
                path.pop()
            if path:
                yield tuple(path)


def room(path: tuple[str, ...]) -> str:
    return path[0] if len(path) > 1 else ""


@pytest.mark.parametrize("module", [module for module in MODULES if module.stem not in DOORS], ids=str)
def test_arrows_go_down(module: Path) -> None:
    own = ROOMS.index(room(module.parts))
    wrong = [".".join(path) for path in imported(module) if ROOMS.index(room(path)) > own]
    assert not wrong


def test_no_circles() -> None:
    arrows = {module.with_suffix("").parts: set(imported(module)) for module in MODULES if module.stem not in DOORS}
    while arrows:
        free = [module for module, found in arrows.items() if not found & arrows.keys()]
        assert free, f"a circle among {sorted('.'.join(module) for module in arrows)}"
        for module in free:
            del arrows[module]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_modules_are_short(module: Path) -> None:
    assert len((PACKAGE / module).read_text().splitlines()) <= 300


def test_rooms_do_nothing_by_being_entered() -> None:
    assert {room: (PACKAGE / room / "__init__.py").read_text() for room in ROOMS[1:]} == dict.fromkeys(ROOMS[1:], "")
