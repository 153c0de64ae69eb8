"""Output of commands: tables, JSON, and progress.

Rules kept here:

* Tables are streamed: the first rows set the width of each column, which grows when a cell is wider.
* Progress goes to standard error, and only if that is a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Final, Literal

from tsmodel.cli.failures import UsageError

__all__ = ["Table", "counted", "iso", "note", "print_json", "progress", "show", "size", "written"]

_LOOK: Final = 200
"""Number of rows that set the width of columns."""


class Table:
    """Prints rows below a header, with numbers aligned to the right.

    Args:
        header: the names of the columns.
        file: the file to print to; None for standard output.
    """

    def __init__(self, header: Sequence[str], file: IO[str] | None = None) -> None:
        self._header = list(header)
        self._out = file or sys.stdout
        self._widths = [len(name) for name in header]
        self._right: list[bool] | None = None

    def print(self, rows: Iterable[Sequence[object]]) -> int:
        """Prints rows, and the header on the first call; returns the number of rows."""
        source = iter(rows)
        first = [list(map(_cell, row)) for row in islice(source, _LOOK)]
        for row in first:
            self._grow([cell for cell, _ in row])
        if self._right is None:
            columns = [[row[at][1] for row in first] for at in range(len(self._header))]
            self._right = [bool(column) and all(column) for column in columns]
            self._line(self._header)
        for row in first:
            self._line([cell for cell, _ in row])
        count = len(first)
        for rest in source:
            cells = [_cell(value)[0] for value in rest]
            self._grow(cells)
            self._line(cells)
            count += 1
        return count

    def _grow(self, cells: Sequence[str]) -> None:
        self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, cells, strict=True)]

    def _line(self, cells: Sequence[str]) -> None:
        assert self._right is not None
        padded = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(cells, self._widths, self._right, strict=True)
        )
        self._out.write("  ".join(padded).rstrip() + "\n")


def print_json(data: object) -> None:
    """Prints one JSON document."""
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def show(as_json: bool, data: object, text: object) -> None:
    """Prints the result of a command: data as JSON, or text for people."""
    if as_json:
        print_json(data)
    else:
        print(text)


def note(text: str) -> None:
    """Prints a message that is not part of the result, to standard error."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


def iso(ns: int | None) -> str | None:
    """A time as ISO 8601 text; None for None."""
    from tsmodel.timestamps import to_iso

    return None if ns is None else to_iso(ns)


def counted(count: int, what: str = "record") -> str:
    """`1 record`, `1,440 records`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """A number of bytes for people: `3.2 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


@contextmanager
def progress(
    what: str, unit: Literal["records", "bytes"] = "records", *, is_quiet: bool = False
) -> Iterator[Callable[[int, int | None], None]]:
    """Yields a function that takes the work done so far and the total; a terminal shows both, with rate and time left.

    Args:
        what: the name of the work.
        unit: the unit that is counted.
        is_quiet: shows nothing.
    """
    if is_quiet or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    shown = size if unit == "bytes" else "{:,.0f}".format
    texts = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}")
    with Progress(*texts, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, done="")

        def update(done: int, total: int | None) -> None:
            speed = bar.tasks[0].speed
            text = f"{shown(done)}  {shown(speed)}/s" if speed else shown(done)
            bar.update(task, completed=done, total=total, done=text)

        yield update


@contextmanager
def written(path: str | None) -> Iterator[Path | None]:
    """A path to write to; the file then appears at `path` whole or not at all. None for standard output."""
    if path is None or path == "-":
        yield None
        return
    whole = Path(path)
    if whole.is_dir():
        raise UsageError(f"{path} is a directory; give the path of a file in it")
    if not whole.parent.is_dir():
        raise UsageError(f"{path}: there is no directory {whole.parent}; create it first")
    if whole.exists() and not whole.is_file():  # a pipe or device, such as /dev/null
        yield whole
        return
    partial = whole.with_name(f".{whole.name}.partial")
    try:
        yield partial
        partial.replace(whole)
    finally:
        partial.unlink(missing_ok=True)


def _cell(value: object) -> tuple[str, bool]:
    """The text of a cell, and whether it is a number."""
    if value is None:
        return "", True
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if not text.isprintable():
        text = text.encode("unicode_escape").decode()
    return text, isinstance(value, (int, float)) and not isinstance(value, bool)
