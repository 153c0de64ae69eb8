"""Arguments and options that several commands have."""

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
Mid = Annotated[list[str] | None, typer.Option("--mid", metavar=_IDS, help="Meter ids, likewise.")]
Moid = Annotated[list[str] | None, typer.Option("--moid", metavar=_IDS, help="Meter object ids, likewise.")]
Cap = Annotated[
    str | None,
    typer.Option(
        "--cap",
        metavar="A..B",
        help="Captured from A on and before B: 2026-11-01..2026-11-02, 2026-11-01, today, 2026-11-01T08:00.., or -15m.",
    ),
]
Acq = Annotated[str | None, typer.Option("--acq", metavar="A..B", help="Acquired then, likewise.")]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="CONDITION", help="Such as 'volts > 240 and mid in [4711, 4712]'; may be repeated."),
]
Errors = Annotated[
    OnError,
    typer.Option("--on-error", metavar="raise|skip", help="What becomes of payloads that do not fit the model."),
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
        "--ambiguous", metavar="earlier|later", help="Which time is meant that clocks show twice when they are put back."
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="NAME=FIELD", help="Which field a column is; NAME= leaves it out. May be repeated."),
]
Delimiter = Annotated[str | None, typer.Option("--delimiter", metavar="CHAR", help="Between cells: ; or tab.")]
Decimal = Annotated[
    Literal[".", ","] | None, typer.Option("--decimal", metavar=".|,", help="The decimal point of numbers.")
]
Encoding = Annotated[str | None, typer.Option("--encoding", metavar="NAME", help="Such as cp1252.")]
UnlessStored = Annotated[
    bool, typer.Option("--unless-stored", help="Leave out records that are stored already: to repeat an import.")
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
    """Fields by columns, as `--column` says it.

    Raises:
        UsageError: when one is not NAME=FIELD.
    """
    found: dict[str, str | None] = {}
    for text in columns or []:
        name, equals, field = text.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--column {text!r} is not NAME=FIELD, such as --column Zaehler=mid")
        found[name] = field.strip() or None
    return found
