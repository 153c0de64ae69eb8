"""Infers a model from a CSV file.

Rules kept here:

* A type must fit all cells that were read. Numbers become Int64 and Float64, which lose nothing.
* What can be read in two ways is not guessed: dates whose day and month could be swapped, and times without an offset.
* Every decision is visible: in the model that is shown, or in `Found.notes`.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import keyword
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import attrs

from tsmodel.cli.failures import UsageError, checked_encoding
from tsmodel.cli.models import toml_of
from tsmodel.interop.files import csv_reader, reason_of
from tsmodel.keys import LIMITS
from tsmodel.model import TSModel

__all__ = ["Found", "Given", "inferred"]

_LOOK_LINES: Final = 100_000
"""Number of lines that are read."""
_LOOK_BYTES: Final = 64 * 2**20
_DELIMITERS: Final = (",", ";", "\t", "|")
_NULLS: Final = ("", "NA", "N/A", "n/a", "na", "null", "NULL", "None", "#N/A", "-", "--")
_BOOLS: Final = {"true", "false", "yes", "no"}
_INT: Final = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
_FLOAT: Final = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)
_NOT_FINITE: Final = re.compile(r"\s*[+-]?(?:nan|inf|infinity)\s*", re.IGNORECASE)
_GROUPED: Final = re.compile(r"\s*[+-]?\d{1,3}(?:[., ']\d{3})+(?:[.,]\d+)?\s*", re.ASCII)
_GROUP: Final = re.compile(r"\s*[+-]?[1-9]\d{0,2}[.,]\d{3}\s*", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_ISO: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(Z|[+-]\d{2}(?::?\d{2})?)?)?", re.ASCII
)
_CLOCK: Final = (" %H:%M:%S", " %H:%M", " %H:%M:%S.%f", "T%H:%M:%S", "T%H:%M", " %I:%M:%S %p", " %I:%M %p", "")
_DATES: Final = (
    *("%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y"),
    *("%Y/%m/%d", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y"),
)
_TIMES_OF_DAY: Final = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f")
_UNIX: Final = (("unix", 10**9), ("unix_ms", 10**12), ("unix_us", 10**15), ("unix_ns", 10**18))
_TWINS: Final = (("%d/%m/", "%m/%d/"), ("%d-%m-", "%m-%d-"))
"""Prefixes of formats that the same text may match."""
_METERS: Final = (
    *("mid", "meter", "meter_id", "meterid", "zaehler", "zahler", "zaehlernummer", "device", "device_id", "deviceid"),
    *("sensor", "sensor_id", "sensorid", "station", "station_id", "id", "node", "node_id"),
)
_KEY: Final = {
    "cid": ("cid", "client", "client_id", "clientid"),
    "mid": _METERS,
    "moid": ("moid", "meter_object", "object", "object_id", "register", "channel"),
}
"""Names of columns that are key components."""
_CAP: Final = ("cap", "time", "timestamp", "ts", "datetime", "date_time", "zeitstempel", "zeit", "datum", "date", "when")
_UNIT: Final = re.compile(r"\s*[\[(]\s*([^\])]{1,12})\s*[\])]\s*$")
_LETTERS: Final = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ł": "l", "Ł": "L"}
)

_RESERVED: Final = {*dir(TSModel), "cid", "mid", "moid", "acq"}
"""Names that fields cannot have."""


@attrs.frozen
class Given:
    """What the user specified about a file; None or empty values are inferred.

    Attributes:
        name: name of the model.
        delimiter, encoding, decimal: as for `load_csv`.
        tz, ambiguous: for times without an offset.
        time: the column of the capture time.
        time_format: its format.
        columns: fields by column; None leaves a column out.
        fixed: values of key components that have no column.
    """

    name: str
    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    tz: str | None = None
    ambiguous: str | None = None
    time: str | None = None
    time_format: str | None = None
    columns: dict[str, str | None] = attrs.field(factory=dict)
    fixed: dict[str, int] = attrs.field(factory=dict)


@attrs.frozen
class Found:
    """An inferred model, and how to read the file with it.

    Attributes:
        name: name of the model.
        keywords: its class keywords.
        fields: `type` and options of each field, with types by name.
        csv: arguments of `load_csv`.
        notes: decisions that the model does not show.
        file: name of the file.
        local_column: the first column whose times have no offset, so that a time zone is needed; None if all have one.
        seen: number of lines from which types were inferred, if the file has more.
    """

    name: str
    keywords: dict[str, int]
    fields: dict[str, dict[str, Any]]
    csv: dict[str, Any]
    notes: list[str]
    file: str
    local_column: str | None
    seen: int | None = None

    def python(self) -> str:
        """The model as a Python file."""
        kinds = [options.get("item") for options in self.fields.values()]
        used = {"TSModel"} | {str(each[key]) for each in self.fields.values() for key in ("type", "item") if key in each}
        if any(len(options) > 1 for options in self.fields.values()):
            used.add("field")
        keywords = "".join(f", {key}={value}" for key, value in self.keywords.items())
        lines = [
            f'"""Records of {self.file}, as inferred by `tsmodel import`."""',
            "",
            *(["import datetime as dt"] if "Date" in kinds else []),
            *(["from uuid import UUID"] if "Uuid" in kinds else []),
            *([""] if {"Date", "Uuid"} & set(kinds) else []),
            f"from tsmodel import {', '.join(sorted(used))}",
            "",
            "",
            f"class {self.name}(TSModel{keywords}):",
        ]
        lines += [f"    {name}: {_annotated(options)}" for name, options in self.fields.items()] or ["    pass"]
        lines += ["", "", "CSV = {"]
        lines += [f"    {key!r}: {value!r}," for key, value in self.csv.items()]
        lines += ["}", f'"""How to read such files: {self.name}.load_csv("{self.file}", **CSV)."""']
        return "\n".join(lines) + "\n"

    def toml(self) -> str:
        """The model as a TOML schema."""
        title = f"Records of {self.file}, as inferred by `tsmodel import`."
        return toml_of(self.name, self.keywords, self.fields, self.csv, title)


def inferred(path: Path, given: Given) -> Found:
    """Infers the model of a CSV file.

    Raises:
        UsageError: when the file is ambiguous; the message names the option that decides.
        OSError: when it cannot be read.
    """
    encoding = checked_encoding(given.encoding) or _encoding(path)
    text, is_whole = _look(path, encoding)
    said = re.match(r"sep=(.)\r?\n", text)  # a hint for spreadsheets
    if said is not None:
        text = text[said.end() :]
    delimiter = given.delimiter or (said[1] if said is not None else _delimiter(text))
    rows, skipped = _rows(text, delimiter)
    skipped += said is not None
    if not rows:
        raise UsageError(f"{path} is empty")
    found = _Inference(path.name, given, encoding, delimiter, rows, skipped).found()
    if is_whole and len(rows) < _LOOK_LINES:
        return found
    found.notes.append(f"types are inferred from the first {len(rows):,} lines; later lines that do not fit are rejected")
    return attrs.evolve(found, seen=len(rows))


class _Inference:
    def __init__(self, file: str, given: Given, encoding: str, delimiter: str, rows: list[list[str]], skipped: int) -> None:
        self._file = file
        self._given = given
        self._notes: list[str] = []
        self._csv: dict[str, Any] = {}
        self._formats: dict[str, str] = {}
        self._local: list[str] = []
        """Columns of times without an offset."""
        if delimiter != ",":
            self._csv["delimiter"] = delimiter
        if encoding != "utf-8":
            self._csv["encoding"] = encoding
            self._notes.append(f"the file is not UTF-8, and is read as {encoding}")
        self._header(rows, skipped)
        self._columns = {
            name: _Column(name, [row[at] for row in self._data], given.decimal) for at, name in enumerate(self._names)
        }
        if given.decimal is None:
            has_commas = any(column.mark == "," for column in self._columns.values())
            for column in self._columns.values():
                column.doubt_groups("," if delimiter == "," else "." if has_commas else None)
        for name in [*given.columns, *([given.time] if given.time else [])]:
            if name not in self._columns:
                raise UsageError(f"{file} has no column {name!r}; it has {', '.join(self._names)}")

    def found(self) -> Found:
        key = self._key()
        fields: dict[str, dict[str, Any]] = {}
        columns: dict[str, str | None] = {name: component for component, name in key.items() if name != component}
        used = {*key.values(), *(part for parts in self._csv.get("join", {}).values() for part in parts)}
        decimals: dict[str, str] = {}
        nulls: set[str] = set()
        for name, column in self._columns.items():
            if name in used:
                continue
            note, is_given = "", name in self._given.columns
            target = self._given.columns[name] if is_given else _identifier(name)
            if name == "acq" and not is_given:
                target, note = None, "is left out because the database assigns it; `tsmodel put --keep-acq` keeps it"
            elif column.kind == "empty" and not is_given:
                target, note = None, "has no values and is left out"
            elif target is not None:
                target = _free(target, fields)
                fields[target] = column.field(_UNIT.search(name))
                note = column.note
                if column.is_local:
                    self._local.append(name)
                if fields[target]["type"] == "Nullable":
                    nulls |= column.nulls
                if column.mark == ",":
                    decimals[name] = ","
                if column.time_format:
                    self._formats[name] = column.time_format
            if target != name:
                columns[name] = target
            if note:
                self._notes.append(f"column {name!r} {note}")
        if not fields:
            raise UsageError(f"{self._file} has only key columns, so there is nothing to store")
        zone = self._given.tz if self._local else None
        options = {
            "columns": columns,
            "decimal": decimals,
            "time_format": self._formats,
            "null": sorted(nulls | {""}) if nulls - {""} else None,
            "tz": zone,
            "ambiguous": zone and self._given.ambiguous,
        }
        return Found(
            self._given.name,
            {name: self._given.fixed.get(name, 1) for name in ("cid", "mid", "moid") if name not in key},
            fields,
            {**self._csv, **{name: value for name, value in options.items() if value}},
            self._notes,
            self._file,
            local_column=next(iter(self._local), None),
        )

    def _header(self, rows: list[list[str]], skipped: int) -> None:
        """Finds the names of the columns, and the lines of data."""
        first = rows[0]
        has_header = not any(_is_data(cell) for cell in first) and any(cell.strip() for cell in first)
        names = [(cell.strip() if has_header else "") or f"column{at}" for at, cell in enumerate(first, 1)]
        unique: list[str] = []
        for name in names:
            unique.append(name if name not in unique else _free(name, {*names, *unique}))
        if not has_header:
            self._notes.append("the first line has data instead of names; columns are named column1, column2, ...")
        if doubled := [name for name, count in Counter(names).items() if count > 1]:
            self._notes.append(f"the header has {', '.join(map(repr, doubled))} more than once; later ones are numbered")
        if skipped:
            self._notes.append("lines before the header are left out")
        if unique != first:
            self._csv["names"] = unique
            skipped += has_header
        if skipped:
            self._csv["skip_lines"] = skipped
        self._names = unique
        data = rows[1:] if has_header else rows
        self._data = [row for row in data if len(row) == len(first)]
        if not data:
            raise UsageError(f"{self._file} has no lines of data below its header, {', '.join(unique)}")

    def _key(self) -> dict[str, str]:
        """The columns of key components."""
        given = {target: name for name, target in self._given.columns.items()}
        key = {component: given[component] for component in _KEY if component in given}
        for component, known in _KEY.items():
            if component in key or component in self._given.fixed:
                continue
            for wanted in known:
                name = next((each for each in self._columns if _plain(each) == wanted), None)
                if name is None or name in key.values() or name in self._given.columns:
                    continue
                fault = self._columns[name].key_fault(component)
                if fault is None:
                    key[component] = name
                    break
                if self._columns[name].kind != "empty":
                    self._notes.append(f"column {name!r} {fault}, so it becomes a field")
        key["cap"] = self._time(self._given.time or given.get("cap"), set(key.values()))
        return key

    def _time(self, given: str | None, taken: set[str]) -> str:
        """The column of the capture time, possibly joined from two columns; also sets its format."""
        if given is None and "cap" in self._columns and self._columns["cap"].kind == "int":
            return "cap"  # ns since 2001
        if given is not None:
            column = self._columns[given]
            form = self._given.time_format or column.as_time(_CAP)
            if form is None and column.kind != "int":  # integers are ns since 2001
                example = next((cell for cell in column.cells if cell.strip()), "")
                raise UsageError(
                    f"the format of column {given!r} is not known ({example!r}): give --time-format '%d.%m.%Y %H:%M'"
                )
            return given if form is None else self._capture(given, form)
        forms = {name: form for name, each in self._columns.items() if name not in taken and (form := each.as_time(_CAP))}
        if forms:
            known = (name for wanted in _CAP for name in forms if _plain(name) == wanted)
            name = next(known, next(iter(forms)))
            form = forms[name]
            is_day = form == "iso-day" or ("%H" not in form and "%I" not in form and form.startswith("%"))
            if is_day and (clock := next((each for each in self._columns.values() if each.clock), None)) is not None:
                joined = _free("when", self._names)
                self._csv["join"] = {joined: [name, clock.name]}
                self._columns[joined] = _Column(joined, [], None)
                day = "%Y-%m-%d" if form == "iso-day" else form
                return self._capture(joined, f"{day} {clock.clock}")
            return self._capture(name, self._given.time_format or form)
        if len(self._names) in (5, 6) and self._names[0] == "column1":
            raise UsageError(f"{self._file} looks like a file of the official clients: store it with `tsmodel put`")
        raise UsageError(f"{self._file}: no column is a time; give --time COLUMN and --time-format '%d.%m.%Y %H:%M'")

    def _capture(self, name: str, form: str) -> str:
        """Sets the format of the capture time."""
        if form == "ambiguous":
            raise UsageError(
                f"column {name!r} may be day/month or month/day: give --time-format '%d/%m/%Y %H:%M' or '%m/%d/%Y %H:%M'"
            )
        if form not in ("iso", *(each for each, _ in _UNIX)) and "%z" not in form:
            self._local.append(self._csv.get("join", {}).get(name, [name])[0])
        if not form.startswith("iso"):
            self._formats[name] = form
        return name


class _Column:
    """The inferred type of a column.

    Args:
        name: name of the column.
        cells: its cells.
        mark: the decimal separator; None to infer it.
    """

    def __init__(self, name: str, cells: list[str], mark: str | None) -> None:
        self.name = name
        self.cells = cells
        self.note = ""
        self.mark = "."
        self.time_format: str | None = None
        self.clock: str | None = None
        self.is_local = False
        self._is_exact = True
        self._written: str | None = None
        values = [cell for cell in dict.fromkeys(cells) if cell.strip() not in _NULLS]
        self.nulls = {cell for cell in dict.fromkeys(cells) if cell.strip() in _NULLS}
        self._values = values
        self.kind = self._kind(mark)

    def _kind(self, mark: str | None) -> str:
        if not self._values:
            return "empty"
        if self._are(lambda value: value.strip().lower() in _BOOLS):
            return "bool"
        if self._are(lambda value: _INT.fullmatch(value) is not None):
            numbers = list(map(int, self._values))
            if any(re.match(r"\s*[+-]?0\d", value) for value in self._values):
                self.note = "has numbers with leading zeros, so it is text"
                return "text"
            return "int" if min(numbers) >= -(2**63) and max(numbers) < 2**63 else "text"
        for point in (mark,) if mark else (".", ","):
            if self._are(partial(_is_number, point=point)):
                self.mark = point
                self._is_exact = all(_is_exact(value.replace(",", ".")) for value in self._values)
                return "float"
        if self._are(lambda value: _GROUPED.fullmatch(value) is not None or _INT.fullmatch(value) is not None):
            self.note = "has numbers with grouped digits (1.234,5), so it is text"
            return "text"
        if self._are(lambda value: _UUID.fullmatch(value.strip()) is not None):
            return "uuid"
        if self._are(lambda value: _ISO.fullmatch(value.strip()) is not None):
            return "text"
        self.clock = _first_format(self._values, _TIMES_OF_DAY)
        return "text"

    def doubt_groups(self, mark: str | None) -> None:
        """Makes numbers text whose `mark` may just as well group digits: `1,234` in a file with commas between cells."""
        marked = [value for value in self._values if self.kind == "float" and self.mark == mark and self.mark in value]
        if marked and all(_GROUP.fullmatch(value) for value in marked):
            self.kind, self.mark = "text", "."
            remedy = f"give --decimal {mark}" if mark == "," else "write Float64 in the saved model and use that"
            self.note = (
                f"has numbers such as {marked[0].strip()}, whose {mark!r} may group digits, so it is text; "
                f"if it is the decimal point, {remedy}"
            )

    def _are(self, is_such: Callable[[str], bool]) -> bool:
        """Whether all values match, except for a few. These are then no longer values, and `note` names them: a single one
        that occurs repeatedly stands for missing values; others are rejected."""
        wrong = [value for value in self._values if not is_such(value)]
        most = max(len(self._values) // 10, int(len(self._values) >= 4))
        if len(wrong) > most:
            return False
        if wrong:
            self._values = [value for value in self._values if is_such(value)]
            times = self.cells.count(wrong[0])
            if len(wrong) == 1 and times > 1:
                self.nulls.add(wrong[0])
                self.note = f"has {wrong[0]!r} in {times} lines, which counts as a missing value"
            else:
                shown = ", ".join(map(repr, wrong[:3]))
                self.note = f"has {shown}{' and others' * (len(wrong) > 3)} among its values: those lines are rejected"
        return True

    def key_fault(self, component: str) -> str | None:
        """Why the column cannot be a key component; None if it can."""
        if self.kind != "int":
            return f"is {'text' if self.kind == 'text' else 'not of integers'}, but {component} needs integers"
        if self.nulls:
            return f"has lines without a value, but each record needs a {component}"
        limits = LIMITS[component]
        if all(limits.least <= int(value) < limits.bound for value in self._values):
            return None
        return f"has numbers beyond {limits.least} to {limits.bound - 1}, the range of {component}"

    def as_time(self, names: Sequence[str]) -> str | None:
        """The format of times: `iso` with offsets, `iso-local`, `iso-day`, a format of strptime, a Unix format, or
        `ambiguous`; None if the values are not times.

        Args:
            names: names of columns whose integers may be Unix times.
        """
        values = [value.strip() for value in self._values]
        if not values:
            return None
        if self.kind == "int":
            if _plain(self.name) not in (*names, "epoch", "unix", "unixtime", "unix_time"):
                return None
            least, greatest = min(map(int, values)), max(map(int, values))
            return next((form for form, unit in _UNIX if unit // 2 <= least and greatest < 5 * unit), None)
        if self.kind != "text":
            return None
        matches = [_ISO.fullmatch(value) for value in values]
        if all(matches):
            if all(match is not None and match[1] for match in matches):
                return "iso"
            return "iso-day" if all(len(value) == 10 for value in values) else "iso-local"
        if self._written is None:
            self._written = _time_format(values) or ""
            if not self._written and len(values) >= 4:  # tolerates a few faulty values
                some = _time_format(values[:1]) or _time_format(values[1:2])
                both = [date + clock for date in ("%d/%m/%Y", "%m/%d/%Y") for clock in _CLOCK]
                self._written = next(filter(self._have, both if some == "ambiguous" else [some or ""]), "")
        return self._written or None

    def _have(self, form: str) -> bool:
        return bool(form) and self._are(lambda value: _has_format(value.strip(), form))

    def field(self, unit: re.Match[str] | None) -> dict[str, Any]:
        """The field for the values."""
        form = self.as_time(()) or ""
        options: dict[str, Any]
        if form in ("iso", "iso-local") or "%H" in form or "%I" in form:
            options = {"type": "Timestamp"}
            self.is_local = form != "iso"
            self.time_format = form if form.startswith("%") else None
        elif form == "iso-day":
            options = {"type": "Date"}
        elif self.kind == "int":
            options = {"type": "Int64"}
        elif self.kind == "float" and not self._is_exact:
            options = {"type": "Text"}
            self.note = "has numbers with more digits than a float keeps, so it is text"
            self.mark = "."
        else:
            options = {"type": {"float": "Float64", "bool": "Bool", "uuid": "Uuid"}.get(self.kind, "Text")}
        if options["type"] != "Text" and self.nulls:
            options = {"type": "Nullable", "item": options["type"], "default": None}
        if unit is not None and options["type"] != "Text":
            options["unit"] = unit[1]
        return options


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4)
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            return "utf-16"
        file.seek(0)
        data = file.read(_LOOK_BYTES)
    if b"\0" in data[:4096]:
        raise UsageError(f"{path} is binary, not CSV; for Parquet use `tsmodel put`")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(data) - 4:
            return "cp1252"
    return "utf-8"


def _look(path: Path, encoding: str) -> tuple[str, bool]:
    """The start of the file, in whole lines, and whether this is the whole file."""
    try:
        with path.open(encoding=encoding, newline="") as file:
            text = file.read(_LOOK_BYTES)
            is_whole = len(text) < _LOOK_BYTES
            if not is_whole:
                text = text[: text.rfind("\n") + 1]
    except UnicodeError as error:
        raise UsageError(f"{path} is not {encoding} ({reason_of(error)}); give --encoding, such as cp1252") from None
    return text.removeprefix("\ufeff"), is_whole


def _delimiter(text: str) -> str:
    """The delimiter that splits most lines into the same number of cells."""
    lines = list(islice(io.StringIO(text, newline=""), 100))

    def score(delimiter: str) -> tuple[float, int]:
        try:
            widths = Counter(len(row) for row in csv_reader(lines, delimiter=delimiter) if row)
        except csv.Error:
            return 0.0, 0
        width, count = max(widths.items(), key=lambda item: (item[1] * (item[0] > 1), item[0]), default=(1, 0))
        return (0.0, 0) if width < 2 else (count / max(sum(widths.values()), 1), width)

    return max(_DELIMITERS, key=score)


def _rows(text: str, delimiter: str) -> tuple[list[list[str]], int]:
    """The rows from the header on, and the number of lines before it."""
    reader = csv_reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    ends: list[int] = []
    try:
        for row in islice(reader, _LOOK_LINES):
            rows.append(row)
            ends.append(reader.line_num)
    except csv.Error as error:
        raise UsageError(f"line {reader.line_num} is not CSV: {error}") from None
    widths = Counter(len(row) for row in rows if row)
    if not widths:
        return [], 0
    width = max(widths, key=lambda each: (widths[each], each))
    first = next(at for at, row in enumerate(rows) if len(row) == width)
    return [row for row in rows[first:] if row], ends[first - 1] if first and any(rows[:first]) else 0


def _is_data(cell: str) -> bool:
    """Whether a cell holds a number, a time or a UUID, unlike names."""
    text = cell.strip()
    return bool(
        _FLOAT.fullmatch(text.replace(",", "."))
        or _ISO.fullmatch(text)
        or _UUID.fullmatch(text)
        or _time_format([text]) is not None
    )


def _time_format(values: list[str]) -> str | None:
    if not values or not re.match(r"\d{1,4}[./-]\d{1,2}[./-]\d{2,4}", values[0]):
        return None
    for date in _DATES:
        form = _first_format(values, tuple(date + clock for clock in _CLOCK))
        if form is not None:
            for one, other in _TWINS:
                if form.startswith(one) and _first_format(values, (form.replace(one, other),)):
                    return "ambiguous"
            return form
    return None


def _first_format(values: Iterable[str], forms: Sequence[str]) -> str | None:
    """The first format that all values match."""
    values = list(values)
    return next((form for form in forms if all(_has_format(value.strip(), form) for value in values)), None)


def _has_format(text: str, form: str) -> bool:
    try:
        dt.datetime.strptime(text, form)  # noqa: DTZ007 - the result is not used
    except ValueError:
        return False
    return True


def _is_number(text: str, point: str) -> bool:
    if point == ",":
        if "." in text:
            return False
        text = text.replace(",", ".")
    return _FLOAT.fullmatch(text) is not None or _NOT_FINITE.fullmatch(text) is not None


def _significant(text: str) -> int:
    mantissa = re.split("[eE]", text.strip().lstrip("+-"))[0].replace(".", "").lstrip("0")
    return len(mantissa.rstrip("0")) if "." in text else len(mantissa)


def _is_exact(text: str) -> bool:
    """Whether a float keeps the digits of a number: up to 15 always, and more if a program wrote them for a float."""
    if _significant(text) <= 15:
        return True
    try:
        value = float(text)
    except ValueError:
        return True  # no number: a line that is rejected
    return Decimal(text) in (Decimal(repr(value)), Decimal(f"{value:.17g}"))


def _plain(name: str) -> str:
    """A name as lowercase letters, digits and underscores: `Spannung [V]` becomes `spannung`."""
    bare = _UNIT.sub("", name).translate(_LETTERS)
    ascii_only = unicodedata.normalize("NFKD", bare).encode("ascii", "ignore").decode()
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", ascii_only)
    return re.sub(r"\W+", "_", spaced, flags=re.ASCII).strip("_").lower()


def _identifier(name: str) -> str:
    """A name that a field can have."""
    made = _plain(name) or "field"
    made = f"f_{made}" if made[0].isdigit() else made
    return f"{made}_" if keyword.iskeyword(made) or made in _RESERVED else made


def _free(name: str, taken: Collection[str]) -> str:
    """The name, with a number if it is taken."""
    return name if name not in taken else next(f"{name}_{n}" for n in range(2, 10**6) if f"{name}_{n}" not in taken)


def _annotated(options: dict[str, Any]) -> str:
    """A field's annotation and value in a class body."""
    kinds = {"Int64": "int", "Float64": "float", "Bool": "bool", "Timestamp": "int", "Uuid": "UUID", "Date": "dt.date"}
    kind = options["type"]
    given = {key: str(value) if key == "item" else repr(value) for key, value in options.items() if key != "type"}
    rest = ", ".join(f"{key}={value}" for key, value in given.items())
    if kind == "Nullable":
        inner = kinds[options["item"]]
        kind = f"Nullable[{inner}]"
    return f"{kind} = field({rest})" if rest else kind
