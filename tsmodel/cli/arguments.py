"""Arguments and options of commands: how they are declared, and those that several commands share."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NamedTuple

import typer

from tsmodel.cli.failures import UsageError

__all__ = [
    "EVERYTHING",
    "Ambiguous",
    "Columns",
    "Decimal",
    "Delimiter",
    "Encoding",
    "Format",
    "Input",
    "Json",
    "JsonLines",
    "Model",
    "Note",
    "Output",
    "Range",
    "Selection",
    "Store",
    "Target",
    "To",
    "UnlessStored",
    "Without",
    "argument",
    "delimiter_of",
    "fields_of",
    "option",
]


def option(names: str, metavar: str | None, text: str, **more: Any) -> Any:
    """An option, for `Annotated`: its names, separated by spaces, what stands for its value, and its help."""
    return typer.Option(*names.split(), metavar=metavar, help=text, **more)


def argument(metavar: str, text: str, **more: Any) -> Any:
    """A positional argument, for `Annotated`."""
    return typer.Argument(metavar=metavar, help=text, **more)


Format = Literal["table", "csv", "jsonl", "parquet", "arrow"]
Input = Literal["csv", "jsonl", "parquet"]
OnError = Literal["raise", "skip"]

_TARGET = "A file, memory:, or tstorage://host:port. Default: the environment variable TSMODEL_URL."
_TO = "A file, which is created if it does not exist, or tstorage://host:port. Default: TSMODEL_URL."
_MODEL = "module:Class, a Python file, or a TOML schema. Without one, payloads are shown in hex."
Target = Annotated[str | None, argument("TARGET", _TARGET, show_default=False)]
Store = Annotated[str, argument("TARGET", "A file, or a postgresql:// URL.")]
To = Annotated[str | None, option("--to", "TARGET", _TO, show_default=False)]
PutModel = Annotated[
    str | None,
    option(
        "--model -m",
        "MODEL",
        "module:Class, a Python file, or a TOML schema. Without one, payloads are in hex.",
        show_default=False,
    ),
]
Model = Annotated[str | None, option("--model -m", "MODEL", _MODEL, show_default=False)]
Output = Annotated[str | None, option("--output -o", "FILE", "File to write.")]
Json = Annotated[bool, option("--json", None, "Print JSON.")]
JsonLines = Annotated[bool, option("--json", None, "The same as --format jsonl.")]
Note = Annotated[str | None, option("--note", "TEXT", "A note to store with the removal.")]

_CAP = "Captured at A or later and before B: 2026-11-01..2026-11-02, 2026-11-01, today, 2026-11-01T08:00.., or -15m."
_WHERE = "A condition, such as 'volts > 240 and mid in [4711, 4712]'. May be repeated."
_ERRORS = "What to do with payloads that do not match the model."


class Selection(NamedTuple):
    """The options that select records. A command takes them as one parameter."""

    cid: Annotated[list[str] | None, option("--cid", "IDS", "Client ids: 1 or 1,2 or 1..10 (excluding 10).")] = None
    mid: Annotated[list[str] | None, option("--mid", "IDS", "Meter ids, as for --cid.")] = None
    moid: Annotated[list[str] | None, option("--moid", "IDS", "Meter object ids, as for --cid.")] = None
    cap: Annotated[str | None, option("--cap", "A..B", _CAP)] = None
    acq: Annotated[str | None, option("--acq", "A..B", "Acquired in this range, as for --cap.")] = None
    tz: Annotated[str, option("--tz", "ZONE", "Time zone of times without an offset: Europe/Warsaw, or local.")] = "UTC"
    model: Model = None
    where: Annotated[list[str] | None, option("--where", "CONDITION", _WHERE)] = None
    on_error: Annotated[OnError, option("--on-error", "raise|skip", _ERRORS)] = "raise"


EVERYTHING: Final = Selection()
"""The default."""


class Without(NamedTuple):
    """Marks a `Selection` some of whose options the command does not take."""

    names: tuple[str, ...]


Range = Annotated[Selection, Without(("model", "where", "on_error"))]

_AMBIGUOUS = "Which one to take of a local time that occurs twice when clocks go back."
_COLUMN = "Store a column as this field; NAME= leaves it out. May be repeated."
_UNLESS_STORED = "Leave out records that are stored already, so you can repeat an import."
Ambiguous = Annotated[Literal["earlier", "later"] | None, option("--ambiguous", "earlier|later", _AMBIGUOUS)]
Columns = Annotated[list[str] | None, option("--column", "NAME=FIELD", _COLUMN)]
Delimiter = Annotated[str | None, option("--delimiter", "CHAR", "Separator of cells, such as ; or tab.")]
Decimal = Annotated[Literal[".", ","] | None, option("--decimal", ".|,", "The decimal separator of numbers.")]
Encoding = Annotated[str | None, option("--encoding", "NAME", "Encoding of the file, such as cp1252.")]
UnlessStored = Annotated[bool, option("--unless-stored", None, _UNLESS_STORED)]


def delimiter_of(text: str | None) -> str | None:
    """The character that `--delimiter` names."""
    if text in ("\\t", "tab"):
        return "\t"
    if text is not None and (len(text) != 1 or text in '\r\n"\0'):
        raise UsageError(f"--delimiter {text!r} is not a character between cells, such as ; or , or tab")
    return text


def fields_of(columns: list[str] | None) -> dict[str, str | None]:
    """The fields by column from `--column` options."""
    found: dict[str, str | None] = {}
    for text in columns or []:
        name, equals, field = text.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--column {text!r} is not NAME=FIELD, such as --column Zaehler=mid")
        found[name] = field.strip() or None
    return found
