"""Stores the records of a file as it is read, for `put` and `import`.

Rules kept here:

* Nothing is lost silently: rejected lines go to a separate file, and the reasons to another.
* If storing fails midway, the error says how many records are stored.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, ValuesView
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import attrs
from typing_extensions import Self

from tsmodel.cli.arguments import Input, delimiter_of, fields_of
from tsmodel.cli.failures import UsageError, checked_encoding, in_words
from tsmodel.cli.output import counted, note, progress
from tsmodel.errors import ConversionError, TSModelError
from tsmodel.interop.files import csv_reader
from tsmodel.session import Session

__all__ = ["Stored", "check_some_fit", "store", "with_csv_options"]

_MOST_SHOWN: Final = 5
_AT_ONCE: Final = 10_000


@attrs.frozen
class Stored:
    """The result of storing a file.

    Attributes:
        count: number of records stored.
        there: number of records left out because they were stored before.
        rejected: number of lines that are not records.
        kept_in: the file with the rejected lines; None if there are none.
        reasons: the file with the reasons.
        spooled: number of records that wait in the target's spool.
    """

    count: int
    there: int = 0
    rejected: int = 0
    kept_in: str | None = None
    reasons: str | None = None
    spooled: int = 0

    @property
    def status(self) -> int:
        """The exit status."""
        return 3 if self.rejected else 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        made: dict[str, Any] = {"stored": self.count, "stored_before": self.there, "rejected": self.rejected}
        made |= {"rejected_lines": self.kept_in, "reasons": self.reasons}
        return {**made, "spooled": self.spooled} if self.spooled else made

    def text(self, target: str) -> str:
        """For people."""
        lines = [f"stored {counted(self.count)} in {target}"]
        if self.spooled:
            lines.append(f"spooled {counted(self.spooled)}, which are sent when the server can be reached")
        if self.there:
            lines.append(f"left out {counted(self.there)} that were stored before")
        if self.rejected:
            lines.append(
                f"rejected {counted(self.rejected, 'line')}: they are in {self.kept_in}, the reasons in {self.reasons}"
            )
        return "\n".join(lines)


def with_csv_options(
    saved: Mapping[str, Any], given: Mapping[str, Any], columns: Sequence[str] | None = None
) -> dict[str, Any]:
    """The arguments of `load_csv` from the model's file, overridden by those of the command line."""
    options = {**saved, **{name: value for name, value in given.items() if value is not None}}
    if given.get("delimiter") is not None:
        options["delimiter"] = delimiter_of(given["delimiter"])
    elif options.get("delimiter") in ("\\t", "tab"):
        options["delimiter"] = "\t"
    checked_encoding(options.get("encoding"))
    if columns:
        options["columns"] = {**options.get("columns", {}), **fields_of(list(columns))}
    return options


def store(
    session: Session,
    model: Any,
    path: Path | None,
    form: Input,
    options: Mapping[str, Any],
    *,
    keep_acq: bool = False,
    unless_stored: bool = False,
    note: str | None = None,
) -> Stored:
    """Stores the records of a file.

    Args:
        session: the session to store in.
        model: the model of the records.
        path: the file; None for standard input.
        form: its format.
        options: arguments of `load_csv` or `load_jsonl`.
        keep_acq, unless_stored: as for `session.add_all`.
        note: the note of the puts, if the target keeps notes.
    """
    seen = 0
    with _Rejects(path, form, options) as rejects, progress("importing", "bytes") as done:
        try:
            if form == "parquet":
                if path is None:
                    raise UsageError("Parquet cannot be read from standard input: give the path of a file")
                seen = session.load_parquet(model, path, keep_acq=keep_acq, unless_stored=unless_stored)
            else:
                with _opened(path) as file:
                    total = path.stat().st_size if path is not None and path.is_file() else None
                    rows = _loaded(model, file, form, options, rejects.take)
                    while batch := list(islice(rows, _AT_ONCE)):
                        seen += len(batch)
                        session.add_all(batch, keep_acq=keep_acq, unless_stored=unless_stored)
                        done(file.tell() if total else 0, total)
            receipt = session.flush(note)
        except (TSModelError, OSError, KeyboardInterrupt) as error:
            stored = seen - len(session.pending) - len(session.in_doubt)
            session.discard()
            if not isinstance(error, UsageError):
                _tell_how_far(stored, session.name)
            raise
    there = seen - receipt.count - receipt.spooled
    return Stored(receipt.count, there, rejects.count, rejects.path, rejects.reasons, receipt.spooled)


def check_some_fit(model: Any, path: Path, options: Mapping[str, Any]) -> None:
    """Checks that some line of a CSV file is a record. A file without lines of data passes.

    Args:
        model: the model of the records.
        path: the file.
        options: arguments of `load_csv`.
    """
    first: ConversionError | None = None
    count = 0

    def take(error: ConversionError) -> None:
        nonlocal first, count
        first = first or error
        count += 1

    with path.open("rb") as file:
        if next(_loaded(model, file, "csv", options, take), None) is None and first is not None:
            what = in_words("; ".join(map(str, first.faults)) or str(first))
            which = "its only line is not a record" if count == 1 else f"none of its {count:,} lines is a record"
            raise UsageError(f"{path}: {which}, so nothing is stored: {what}")


def _loaded(
    model: Any, file: IO[bytes], form: Input, options: Mapping[str, Any], take: Callable[[ConversionError], object]
) -> Iterator[Any]:
    try:
        if form == "jsonl":
            return iter(model.load_jsonl(file, errors=take, **options))
        return iter(model.load_csv(file, errors=take, **options))
    except (ValueError, TypeError, LookupError) as error:
        raise UsageError(str(error)) from error


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[bytes]]:
    if path is None:
        yield sys.stdin.buffer
        return
    with path.open("rb") as file:
        yield file


class _Rejects:
    """Writes rejected lines, unchanged, to a file.

    Args:
        path: the input file; None for standard input.
        form: its format.
        options: the options it is read with.
    """

    def __init__(self, path: Path | None, form: Input, options: Mapping[str, Any]) -> None:
        self.count = 0
        self.path: str | None = None
        self.reasons: str | None = None
        self._form = form
        self._source = path
        self._delimiter = options.get("delimiter") or ","
        self._encoding = options.get("encoding") or "utf-8"
        self._skip = int(options.get("skip_lines", 0))
        self._has_header = form == "csv" and options.get("names") is None
        self._files: list[IO[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()
        if self.count > _MOST_SHOWN:
            note(f"... and {counted(self.count - _MOST_SHOWN, 'line')} more: see {self.reasons}")

    def take(self, error: ConversionError) -> None:
        """Adds a rejected line, given its error."""
        if not self._files:
            self._begin(error.record)
        lines, reasons = self._files
        self.count += 1
        record = error.record.values() if isinstance(error.record, Mapping) else error.record
        if isinstance(record, (list, tuple, ValuesView)):
            csv.writer(lines, delimiter=self._delimiter).writerow(record)
        elif record is not None:
            lines.write(f"{record.decode(errors='replace') if isinstance(record, bytes) else record}".rstrip("\r\n") + "\n")
        text = in_words("; ".join(map(str, error.faults)) or str(error))
        reasons.write(text + "\n")
        if self.count <= _MOST_SHOWN:
            note(f"rejected: {text}")

    def _begin(self, record: object) -> None:
        stem = self._source.stem if self._source is not None else "stdin"
        suffix = ".jsonl" if self._form == "jsonl" else ".csv"
        ends = ("" if number == 1 else f"-{number}" for number in range(1, 10**6))
        names = ((f"{stem}.rejected{end}{suffix}", f"{stem}.rejected{end}.txt") for end in ends)
        self.path, self.reasons = next(pair for pair in names if not any(Path(name).exists() for name in pair))
        self._files = [
            Path(self.path).open("x", encoding=self._encoding, newline=""),  # noqa: SIM115 - closed by __exit__
            Path(self.reasons).open("x", encoding="utf-8"),  # noqa: SIM115
        ]
        head = self._head()
        self._files[0].write(head)
        if not head and self._has_header and isinstance(record, Mapping):
            csv.writer(self._files[0], delimiter=self._delimiter).writerow(record)

    def _head(self) -> str:
        """The lines of the file before its data, so that the rejected lines can be read with the same options."""
        if self._source is None or self._form != "csv" or not self._source.is_file():
            return ""
        with self._source.open(encoding=self._encoding, newline="") as file:
            skipped = "".join(islice(file, self._skip))
            if not self._has_header:
                return skipped
            rows = io.StringIO(newline="")
            header: list[str] = next((row for row in csv_reader(file, delimiter=self._delimiter) if row), [])
            csv.writer(rows, delimiter=self._delimiter).writerow(header)
            return (skipped + rows.getvalue()).removeprefix("\ufeff")


def _tell_how_far(stored: int, target: str) -> None:
    if stored > 0:
        note(f"{counted(stored)} are stored in {target}; the same command with --unless-stored stores the rest")
    else:
        note("nothing was stored")
