"""The cells of a CSV file, by the column and a stretch of lines at a time.

Rules kept here:

* The csv module says what CSV is. A block of text without a quote, all of whose lines have the same number of cells, is
  what the delimiter cuts it into: such blocks, which most files consist of, are cut by one call, three times as fast.
* Lines are numbered from 1, the header's included, as editors do; a line break within a cell counts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final

import attrs
import numpy as np

from tsmodel.interop.files import TextSource

__all__ = ["Cells", "CsvFormat", "Stretch", "Unreadable"]

_LINES: Final = 512
"""Lines of a stretch: enough that a stretch costs nothing, few enough that they stay in the cache."""

_BLOCK: Final = 32_768
"""Characters of a block; about as much."""


@attrs.frozen
class CsvFormat:
    """How a CSV file is written.

    Attributes:
        delimiter: between cells; None for what the dialect says.
        dialect: a dialect of the csv module.
        null: the cell that stands for null.
        encoding: of the file.

    Raises:
        ValueError: when the csv module does not take them.
    """

    delimiter: str | None = None
    dialect: str | csv.Dialect | type[csv.Dialect] = "excel"
    null: str = ""
    encoding: str = "utf-8"

    def __attrs_post_init__(self) -> None:
        try:
            csv.reader((), **self.arguments)
        except (TypeError, csv.Error) as error:
            raise ValueError(f"delimiter={self.delimiter!r}, dialect={self.dialect!r}: {error}") from error

    @property
    def arguments(self) -> dict[str, Any]:
        """For the csv module; quotes in wrong places are errors."""
        given = {} if self.delimiter is None else {"delimiter": self.delimiter}
        return {"dialect": self.dialect, "strict": True, **given}


class Unreadable(ValueError):  # noqa: N818 - it becomes an error
    """A file that is not CSV, or not in its encoding, from a line on.

    Attributes:
        line: the line.
    """

    def __init__(self, why: str, line: int) -> None:
        super().__init__(why)
        self.line = line


@attrs.frozen
class Stretch:
    """Some lines.

    Attributes:
        columns: the cells of those lines that have as many as the header, by the column.
        count: how many such lines there are.
        before: line of the file that ends in front of the first one.
        lines: the cells of all lines, when some have more or fewer cells, or none; otherwise None.
    """

    columns: Sequence[Sequence[str]]
    count: int
    before: int
    lines: list[list[str]] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all lines have as many cells as the header."""
        return self.lines is None

    def numbered(self) -> Iterator[tuple[int, list[str]]]:
        """The cells of each line, and the number of the line, or of the first one that they stand in."""
        number = self.before + 1
        for cells in self.lines if self.lines is not None else map(list, zip(*self.columns, strict=True)):
            yield number, cells
            number += 1 + sum(cell.count("\n") + cell.count("\r") - cell.count("\r\n") for cell in cells)


class Cells:
    """Reads the cells of a file: first `header`, if it has one, then `stretches`.

    Args:
        source: the file's text.
        form: how it is written.
    """

    def __init__(self, source: TextSource, form: CsvFormat) -> None:
        self._source = source
        self._form = form
        self._base = 0
        self._reader: Any = csv.reader(source.lines(), **form.arguments)

    @property
    def line(self) -> int:
        """The last line that was read."""
        return self._base + int(self._reader.line_num)

    def skip(self, count: int) -> None:
        """Leaves out lines, before anything else is read.

        Raises:
            Unreadable: when they are not in the file's encoding.
        """
        try:
            self._base = sum(1 for _ in islice(self._source.lines(), count))
        except UnicodeDecodeError as error:
            raise self._unreadable(error) from error

    def header(self) -> list[str] | None:
        """The cells of the first line that is not empty; None when there is none.

        Raises:
            Unreadable: when it is not CSV.
        """
        try:
            return next((row for row in self._reader if row), None)
        except (csv.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error

    def stretches(self, width: int) -> Iterator[Stretch]:
        """All that follows.

        Args:
            width: cells of a line.

        Raises:
            Unreadable: behind the last line that can be read.
        """
        cut = _cutter(self._reader.dialect, width) if self._source.has_blocks else None
        while cut is not None:
            try:
                block = self._source.block(_BLOCK)
            except UnicodeDecodeError as error:
                raise self._unreadable(error) from error
            if not block:
                return
            before = self.line
            columns = cut(block)
            if columns is not None:
                count = len(columns[0])
                self._base += count
                yield Stretch(columns, count, before)
                continue
            rest: Iterable[str] = io.StringIO(block, newline="")
            if self._reader.dialect.quotechar in block:
                cut = None  # what is quoted may go on in the next block
                rest = chain(rest, self._source.lines())
            self._base = before
            self._reader = csv.reader(rest, **self._form.arguments)
            yield from self._read(width)
        yield from self._read(width)

    def _read(self, width: int) -> Iterator[Stretch]:
        """What the csv module makes of it."""
        rows: list[list[str]] = []
        failure: Exception | None = None
        while failure is None:
            before = self.line
            rows = []
            try:
                rows.extend(islice(self._reader, _LINES))  # keeps those before an error
            except (csv.Error, UnicodeDecodeError) as error:
                failure = error
            if rows:
                is_whole = set(map(len, rows)) == {width}
                fit = rows if is_whole else [row for row in rows if len(row) == width]
                yield Stretch(list(zip(*fit, strict=True)) or [()] * width, len(fit), before, None if is_whole else rows)
            elif failure is None:
                self._base, self._reader = self.line, csv.reader((), **self._form.arguments)
                return
        raise self._unreadable(failure) from failure

    def _unreadable(self, error: Exception) -> Unreadable:
        if isinstance(error, UnicodeDecodeError):
            why = f"from about here on it is not {error.encoding} ({error.reason}): give encoding=, such as 'cp1252'"
            return Unreadable(why, self.line + 1)
        return Unreadable(f"it is not CSV: {error}", max(self.line, 1))


def _cutter(dialect: Any, width: int) -> Any:
    """Cuts a block of whole lines into columns, or gives None for one out of the ordinary; None when the dialect is."""
    delimiter: str = dialect.delimiter
    ordinary = delimiter.isascii() and delimiter not in "\r\n" and dialect.escapechar is None and width > 1
    if not ordinary or dialect.skipinitialspace or dialect.quoting in (csv.QUOTE_NONNUMERIC, csv.QUOTE_NONE):
        return None
    quote: str = dialect.quotechar
    cell_end, line_end = ord(delimiter), ord("\n")

    def cut(block: str) -> list[list[str]] | None:
        if quote in block:
            return None
        if "\r" in block:
            block = block.replace("\r\n", "\n")
            if "\r" in block:
                return None
        if not block.endswith("\n"):
            block += "\n"
        octets = np.frombuffer(block.encode("utf-8", "surrogatepass"), np.uint8)
        ends = octets[(octets == cell_end) | (octets == line_end)]
        if ends.size % width:
            return None
        ends = ends.reshape(-1, width)
        if (ends[:, -1] != line_end).any() or (ends[:, :-1] != cell_end).any():
            return None
        cells = block.replace("\n", delimiter).split(delimiter)
        return [cells[at:-1:width] for at in range(width)]

    return cut
