"""Opens files that users pass as paths or open files, and collects the faults found in them.

Rules kept here:

* No record is dropped silently: each record left out is passed to the user's function, or is part of the error that ends
  reading.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeAlias, cast

from tsmodel.errors import ConversionError, ConversionFault
from tsmodel.wire.records import MAX_PAYLOAD

__all__ = [
    "Collector",
    "ErrorHandling",
    "Source",
    "Target",
    "conversion_error",
    "csv_reader",
    "lines_of",
    "opened",
    "reason_of",
]


ErrorHandling: TypeAlias = Literal["raise", "collect"] | Callable[[ConversionError], object]

_MOST_SHOWN: Final = 20

_LONGEST_CELL: Final = 8 * MAX_PAYLOAD
"""Characters: a payload in hex takes 2 a byte, a list of small integers up to 6."""


def reason_of(error: UnicodeError) -> str:
    """Why text cannot be decoded."""
    return error.reason if isinstance(error, UnicodeDecodeError) else str(error)


def csv_reader(lines: Iterable[str], **form: Any) -> Any:
    """`csv.reader` for cells of any size that a record can have: by default the csv module takes 131,072 characters. The
    limit is one for the whole process, so it is only ever raised."""
    if csv.field_size_limit() < _LONGEST_CELL:
        csv.field_size_limit(_LONGEST_CELL)
    return csv.reader(lines, **form)


def conversion_error(
    what: str, faults: tuple[ConversionFault, ...], *, line: int | None = None, record: object = None
) -> ConversionError:
    """Makes the error for one record.

    Args:
        what: name of the model.
        faults: all faults.
        line: number of its line.
        record: the data at fault.
    """
    if len(faults) == 1:
        return ConversionError(f"{what}: {faults[0]}", faults=faults, line=line, record=record)
    return ConversionError(f"{what}: {len(faults)} faults{_listed(faults)}", faults=faults, line=line, record=record)


def _listed(faults: tuple[ConversionFault, ...]) -> str:
    shown = [f"\n  {fault}" for fault in faults[:_MOST_SHOWN]]
    rest = len(faults) - len(shown)
    return "".join(shown) + (f"\n  and {rest} more, in .faults" if rest else "")


class Collector:
    """Collects the faults of a file.

    Args:
        model: name of the model.
        errors: `raise`, `collect`, or a function that is called with the error of each record.
        max_errors: number of faulty records after which reading stops; None for no limit. Ignored for a function.

    Raises:
        ValueError: if an argument is invalid.
    """

    def __init__(self, model: str, errors: ErrorHandling, max_errors: int | None) -> None:
        if errors not in ("raise", "collect") and not callable(errors):
            raise ValueError(f'errors={errors!r}; expected "raise", "collect", or a function')
        if max_errors is not None and (type(max_errors) is not int or max_errors < 1):
            raise ValueError(f"max_errors={max_errors!r}; expected a positive int, or None for no limit")
        self._model = model
        self._errors = errors
        self._max_errors = max_errors
        self._faults: list[ConversionFault] = []
        self._records = 0

    @property
    def has_ended(self) -> bool:
        """Whether no more objects are yielded, because a fault was found and errors are raised."""
        return self._records > 0 and self._errors == "raise"

    def take(self, faults: tuple[ConversionFault, ...], line: int | None, record: object) -> None:
        """Takes the faults of one record.

        Raises:
            ConversionError: if there are too many.
        """
        faults = tuple(fault._replace(line=line) for fault in faults)
        if callable(self._errors):
            self._errors(conversion_error(self._model, faults, line=line, record=record))
            return
        self._faults += faults
        self._records += 1
        if self._records == self._max_errors:
            self._raise(f"; reading stopped (max_errors={self._max_errors})" if self._records > 1 else "")

    def end(self) -> None:
        """Raises the error with every fault found.

        Raises:
            ConversionError: if there was any fault.
        """
        if self._records:
            self._raise("")

    def give_up(self, why: str, line: int) -> None:
        """Raises because the file cannot be read further.

        Raises:
            ConversionError: always, with all faults found before.
        """
        self._faults.append(ConversionFault(why, line=line))
        self._records += 1
        self._raise("; the file cannot be read further")

    def _raise(self, end: str) -> None:
        faults = tuple(self._faults)
        if len(faults) == 1:
            raise ConversionError(f"{self._model}: {faults[0]}{end}", faults=faults, line=faults[0].line)
        lines = f"{self._records} {'line' if self._records == 1 else 'lines'}"
        raise ConversionError(f"{self._model}: {len(faults)} faults in {lines}{end}{_listed(faults)}", faults=faults)


Source: TypeAlias = str | os.PathLike[str] | Iterable[str] | IO[bytes]
"""What to read: a path, a file open for text or bytes, or lines of text."""

Target: TypeAlias = str | os.PathLike[str] | IO[str] | IO[bytes]
"""Where to write: a path, or a file open for text or bytes."""


@contextmanager
def opened(file: Any, mode: Literal["r", "w"], encoding: str) -> Iterator[Any]:
    """Opens a source or target as text, without translating line ends. Closes only what it opened."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise ValueError(f"encoding={encoding!r}: there is no such encoding; use utf-8 or cp1252, for example") from None
    if isinstance(file, (str, os.PathLike)):
        with Path(file).open(mode, encoding=encoding, newline="") as text:
            yield text
    elif isinstance(file, (io.RawIOBase, io.BufferedIOBase)) or "b" in str(getattr(file, "mode", "")):
        wrapper = io.TextIOWrapper(cast("IO[bytes]", file), encoding=encoding, newline="")
        try:
            yield wrapper
        finally:
            if not wrapper.closed:  # a reader that was abandoned ends after its file
                wrapper.detach()
    else:
        yield file


def lines_of(text: Iterable[str]) -> Iterator[str]:
    """The lines of an open file, with their ends, without a byte order mark."""
    lines = iter(text)
    # The codec "utf-8-sig" would skip the mark, too, but takes twice as long for every line.
    return chain((line.removeprefix("\ufeff") if isinstance(line, str) else line for line in islice(lines, 1)), lines)
