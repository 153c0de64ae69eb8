"""`tsmodel import`: imports any CSV file without code."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tsmodel.cli import arguments as of
from tsmodel.cli.arguments import argument, option
from tsmodel.cli.failures import UsageError, existing
from tsmodel.cli.output import note, print_json, show
from tsmodel.errors import SchemaError

if TYPE_CHECKING:
    from tsmodel.cli.inference import Found, Given

__all__ = ["import_"]

_MODEL: Final = "Use the model of an earlier import instead of inferring one."
_SAVE: Final = "Save the model here, as .toml or .py. Default: FILE.toml in this directory."
_TZ: Final = "Time zone of times without an offset: Europe/Warsaw, or local."
_TIME_FORMAT: Final = "Format of the capture time: '%d.%m.%Y %H:%M', unix, or unix_ms."
_MOST_TRIED: Final = 100
"""Number of values tried to find a free moid."""


def import_(
    file: Annotated[str, argument("FILE.csv", "The file.")],
    to: of.To = None,
    model: Annotated[str | None, option("--model -m", "MODEL", _MODEL)] = None,
    save: Annotated[str | None, option("--save", "FILE", _SAVE)] = None,
    name: Annotated[str | None, option("--name", "NAME", "Name of the model.")] = None,
    tz: Annotated[str | None, option("--tz", "ZONE", _TZ)] = None,
    ambiguous: of.Ambiguous = None,
    time: Annotated[str | None, option("--time", "COLUMN", "The column of the capture time.")] = None,
    time_format: Annotated[str | None, option("--time-format", "FORMAT", _TIME_FORMAT)] = None,
    column: of.Columns = None,
    cid: Annotated[int | None, option("--cid", None, "Client id of all records, if no column has it.")] = None,
    mid: Annotated[int | None, option("--mid", None, "Meter id of all records.")] = None,
    moid: Annotated[int | None, option("--moid", None, "Meter object id of all records.")] = None,
    delimiter: of.Delimiter = None,
    decimal: of.Decimal = None,
    encoding: of.Encoding = None,
    unless_stored: of.UnlessStored = False,
    dry_run: Annotated[bool, option("--dry-run", None, "Only show the model; write nothing.")] = False,
    as_json: of.Json = False,
) -> int:
    """Infer a model from a CSV file, show it, save it, and import the file.

    Detects types, key columns, times and their format, decimal commas, delimiter, encoding, and missing values.
    Lines that cannot be read are saved in a separate file.

    Example:
      tsmodel import meters.csv --to meters.tsdb --tz Europe/Warsaw
      tsmodel plot meters.tsdb --model meters.toml -o meters.png
    """
    from tsmodel.cli.inference import Given, inferred
    from tsmodel.cli.models import csv_options, model_of
    from tsmodel.cli.opening import note_for, writing
    from tsmodel.cli.storing import check_some_fit, store, with_csv_options

    path, seen = existing(file, "a CSV file"), None
    if to is None and not dry_run:
        to = _target()
    given_options = {"tz": tz, "ambiguous": ambiguous, "delimiter": delimiter, "decimal": decimal, "encoding": encoding}
    if model is not None:
        said = {"--name": name, "--save": save, "--time": time, "--cid": cid, "--mid": mid, "--moid": moid}
        if wrong := [option for option, value in said.items() if value is not None]:
            raise UsageError(f"{wrong[0]} is for inferring a model; {model} defines it already")
        kind: Any = model_of(model)
        how = with_csv_options(csv_options(model), {**given_options, "time_format": time_format}, column)
        saved = model
        if path.is_file():
            check_some_fit(kind, path, how)
    else:
        fixed = {key: value for key, value in (("cid", cid), ("mid", mid), ("moid", moid)) if value is not None}
        given = Given(
            name=_class_name(name, path),
            delimiter=of.delimiter_of(delimiter),
            encoding=encoding,
            decimal=decimal,
            tz=_zone_name(tz),
            ambiguous=ambiguous,
            time=time,
            time_format=time_format,
            columns=of.fields_of(column),
            fixed=fixed,
        )
        found = inferred(path, given)
        saved = save or f"{path.stem}.toml"
        if found.local_column is not None and given.tz is None:
            found = inferred(path, _with_zone(given, path, found.local_column))
        seen = found.seen
        text = _saved_as(found, saved)
        tried, how = _tried(found)
        check_some_fit(tried, path, how)
        if to is not None and not dry_run and not (unless_stored and Path(saved).exists()):
            _check_apart(to, found, fixed, file, saved)
        if not as_json:
            print(f"# {saved}\n{text}")
        for remark in found.notes:
            note(f"note: {remark}")
        if dry_run:
            if as_json:
                print_json({"model": found.name, "key": found.keywords, "fields": found.fields, "csv": found.csv})
            return 0
        Path(saved).write_text(text, encoding="utf-8", newline="\n")
        kind, how = model_of(saved), csv_options(saved)
    if dry_run:
        print(kind.layout)
        return 0
    with writing(to, create=True) as session:
        done = store(session, kind, path, "csv", how, unless_stored=unless_stored, note=note_for(to, f"import {file}"))
    if done.rejected:
        again = "tsmodel import {} --to {} --model {}"
        note(f"fix the lines in {done.kept_in}, and store them with `{again.format(done.kept_in, to, saved)}`")
        if seen is not None:
            note(
                f"types are inferred from the first {seen:,} lines: if a field needs another type, undo the import with "
                f"`tsmodel undo`, change the field in {saved}, and repeat `{again.format(file, to, saved)}`"
            )
    text = done.text(str(to))
    if done.count:
        text += (
            f"\n\nNow:  tsmodel get {to} --model {saved} --limit 5\n      tsmodel plot {to} --model {saved} -o chart.png"
        )
    show(as_json, {"model": saved, "target": to, **done.as_dict()}, text)
    return done.status


def _saved_as(found: Found, saved: str) -> str:
    """The text of the file that the model is saved in."""
    path = Path(saved)
    if path.suffix not in (".toml", ".py"):
        raise UsageError(f"--save {saved}: the file name must end in .toml or .py")
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"--save {saved}: there is no such directory")
    text = found.python() if path.suffix == ".py" else found.toml()
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
        raise UsageError(
            f"{saved} exists and has another model: use it with --model {saved}, or name another file with --save"
        )
    return text


def _tried(found: Found) -> tuple[Any, dict[str, Any]]:
    """The inferred model, before it is saved, and the arguments of its `load_csv`."""
    from tsmodel.cli.models import toml_model

    try:
        return toml_model(found.toml(), "the inferred model")
    except SchemaError as error:
        raise UsageError(str(error)) from error


def _check_apart(to: str, found: Found, fixed: dict[str, int], file: str, saved: str) -> None:
    """Checks that records of an inferred model do not mix with records of the target, since only keys tell them apart."""
    from tsmodel.cli.models import Record
    from tsmodel.cli.opening import target_of, writing
    from tsmodel.errors import TransportError
    from tsmodel.session.target import SpooledServer, StoreFile

    key = {name: value for name, value in found.keywords.items() if name != "mid" or name in fixed}
    parsed = target_of(to)
    if "moid" not in key or (isinstance(parsed, StoreFile) and (parsed.path is None or not Path(parsed.path).exists())):
        return

    def is_taken(moid: int) -> bool:
        columns: Any = Record
        query = session.query(Record)
        for name, value in {**key, "moid": moid}.items():
            query = query.where(getattr(columns, name) == value)
        return query.exists()

    try:
        with writing(to, create=True) as session:
            if not is_taken(key["moid"]):
                return
            after = range(key["moid"] + 1, min(key["moid"] + _MOST_TRIED, 2**31 - 1))
            free = next((moid for moid in after if not is_taken(moid)), None)
            name = session.name
    except TransportError:
        if isinstance(parsed, SpooledServer):  # unknown until the server is back
            return
        raise
    same = ", ".join(f"{component} {value}" for component, value in key.items())
    earlier = saved if Path(saved).exists() else "meters.toml, the model of the earlier import,"
    other = f"--moid {free}" if free is not None else "--moid with a number that is free"
    raise UsageError(
        f"{name} already has records with {same}, the same as those of {file} would have: give {other} for "
        f"another kind of data, or --model {earlier} to add to the existing data"
    )


def _target() -> str:
    found = os.environ.get("TSMODEL_URL")
    if not found:
        raise UsageError("give a target for the records: --to meters.tsdb, or --to tstorage://host:2025")
    return found


def _class_name(name: str | None, path: Path) -> str:
    if name is not None:
        if not name.isidentifier():
            raise UsageError(f"--name {name!r} is not a name such as Reading")
        return name
    words = re.findall(r"[A-Za-z0-9]+", path.stem)
    made = "".join(word[0].upper() + word[1:] for word in words)
    return made if made and made[0].isalpha() else f"Records{made}"


def _zone_name(tz: str | None) -> str | None:
    """The name of a time zone, for the model's file."""
    if tz is None:
        return None
    from tsmodel.cli.opening import zone

    found = zone(tz)
    if tz != "local":
        return tz
    key = getattr(found, "key", None)
    if key is None:
        raise UsageError(
            "--tz local: this machine does not know the name of its time zone; give a name, such as Europe/Warsaw"
        )
    return str(key)


def _with_zone(given: Given, path: Path, column: str) -> Given:
    """Asks for the time zone."""
    import attrs

    if not sys.stdin.isatty():
        raise UsageError(
            f"{path}: the times in column {column!r} have no offset from UTC: give their time zone, such as --tz "
            "Europe/Warsaw, or --tz UTC"
        )
    answer = typer.prompt(
        f"The times in column {column!r} have no offset from UTC. Their time zone", default="UTC", err=True
    )
    return attrs.evolve(given, tz=_zone_name(answer))
