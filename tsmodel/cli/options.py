"""Arguments and options shared by several commands."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tsmodel.cli.failures import UsageError

__all__ = [
    "Acq",
    "Ambiguous",
    "Cap",
    "Cid",
    "Columns",
    "Decimal",
    "Delimiter",
    "Encoding",
    "Errors",
    "Format",
    "Json",
    "Mid",
    "Model",
    "Moid",
    "OnError",
    "Target",
    "To",
    "UnlessStored",
    "Where",
    "Zone",
    "between_cells",
    "mapping",
]

OnError = Literal["raise", "skip"]
Format = Literal["table", "csv", "jsonl", "parquet", "arrow"]

Target = Annotated[
    str | None,
    typer.Argument(
        metavar="TARGET",
        help="A file, memory:, or tstorage://host:port. Default: the environment variable TSMODEL_URL.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="module:Class, a Python file, or a TOML schema. Without one, payloads are shown in hex.",
        show_default=False,
    ),
]
_IDS = "IDS"
Cid = Annotated[list[str] | None, typer.Option("--cid", metavar=_IDS, help="Client ids: 1 or 1,2 or 1..10 (without 10).")]
Mid = Annotated[list[str] | None, typer.Option("--mid", metavar=_IDS, help="Meter ids, as for --cid.")]
Moid = Annotated[list[str] | None, typer.Option("--moid", metavar=_IDS, help="Meter object ids, as for --cid.")]
Cap = Annotated[
    str | None,
    typer.Option(
        "--cap",
        metavar="A..B",
        help="Captured at A or later and before B: 2026-11-01..2026-11-02, 2026-11-01, today, 2026-11-01T08:00.., or -15m.",
    ),
]
Acq = Annotated[str | None, typer.Option("--acq", metavar="A..B", help="Acquired in this range, as for --cap.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="CONDITION", help="A condition, such as 'volts > 240 and mid in [4711, 4712]'. May be repeated."
    ),
]
Errors = Annotated[
    OnError,
    typer.Option("--on-error", metavar="raise|skip", help="What to do with payloads that do not match the model."),
]
Zone = Annotated[
    str, typer.Option("--tz", metavar="ZONE", help="Time zone of times without an offset: Europe/Warsaw, or local.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="TARGET",
        help="A file, which is created if it does not exist, or tstorage://host:port. Default: TSMODEL_URL.",
        show_default=False,
    ),
]
Ambiguous = Annotated[
    Literal["earlier", "later"] | None,
    typer.Option(
        "--ambiguous",
        metavar="earlier|later",
        help="Which one to take of a local time that occurs twice when clocks go back.",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="NAME=FIELD", help="Store a column as this field; NAME= leaves it out. May be repeated."
    ),
]
Delimiter = Annotated[str | None, typer.Option("--delimiter", metavar="CHAR", help="Separator of cells, such as ; or tab.")]
Decimal = Annotated[
    Literal[".", ","] | None, typer.Option("--decimal", metavar=".|,", help="The decimal separator of numbers.")
]
Encoding = Annotated[str | None, typer.Option("--encoding", metavar="NAME", help="Encoding of the file, such as cp1252.")]
UnlessStored = Annotated[
    bool, typer.Option("--unless-stored", help="Leave out records that are stored already, so you can repeat an import.")
]


def between_cells(delimiter: str | None) -> str | None:
    """The character that `--delimiter` names.

    Raises:
        UsageError: when it is not one character.
    """
    if delimiter in ("\\t", "tab"):
        return "\t"
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '\r\n"\0'):
        raise UsageError(f"--delimiter {delimiter!r} is not a character between cells, such as ; or , or tab")
    return delimiter


def mapping(columns: list[str] | None) -> dict[str, str | None]:
    """The fields by column from `--column` options.

    Raises:
        UsageError: when an option is not NAME=FIELD.
    """
    found: dict[str, str | None] = {}
    for text in columns or []:
        name, equals, field = text.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--column {text!r} is not NAME=FIELD, such as --column Zaehler=mid")
        found[name] = field.strip() or None
    return found
