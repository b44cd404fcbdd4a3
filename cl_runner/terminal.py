"""What commands show in the terminal: a bar, tables that fit, text that is not ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cl_runner.plain_text import printable


class Bar:
    """A progress bar that is there while entered; none where there is no terminal."""

    def __init__(self, console: Console, description: str, total: int | None) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[speed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._total = self._bar.add_task(description, total=total, speed="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


def print_whole(console: Console, *tables: Table) -> None:
    """The first of some forms of a table that fits the screen; where none does, a line for each cell.

    Where there is no screen, the first: a table wider than that is better than one with numbers cut off.
    """
    unbounded = console.options.update(max_width=10_000)
    widths = [console.measure(table, options=unbounded).maximum for table in tables]
    if not console.is_terminal:
        console.width = max(console.width, widths[0])
    fitting = [table for table, width in zip(tables, widths, strict=True) if width <= console.width]
    if fitting:
        console.print(fitting[0])
        return
    headings = [" ".join(str(column.header).split()) for column in tables[0].columns]
    for row in zip(*(column.cells for column in tables[0].columns), strict=True):
        for heading, cell in zip(headings, row, strict=True):
            if cell:
                console.print(f"{heading}: {cell}" if heading else cell, highlight=False)
        console.print()


def in_ranges(names: Iterable[str]) -> str:
    """`0-3, 7` for the names 0, 1, 2, 3 and 7; other names as they are."""
    return ", ".join(_ranges(list(names)))


def _ranges(names: Sequence[str]) -> Iterator[str]:
    numbers = sorted(int(name) for name in names if name.isdecimal())
    # Neighbours have the same distance from their place in the list.
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        numbered = [number for _, number in run]
        yield str(numbered[0]) if len(numbered) == 1 else f"{numbered[0]}-{numbered[-1]}"
    yield from (name for name in names if not name.isdecimal())


def plain(text: str) -> str:
    """Text that is not ours, without markup."""
    return escape(printable(text))


def counted(number: int, thing: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {thing}{'s' * (number != 1)}"
