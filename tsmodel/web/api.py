"""The endpoints of the HTTP API: series, records, windows and statistics of a target, with their responses.

This module is independent of HTTP itself, which `application` handles.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from functools import partial
from operator import attrgetter, ge, le, lt
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from tsmodel.cli.failures import UsageError
from tsmodel.cli.models import Record
from tsmodel.cli.where import condition
from tsmodel.frames.frame import names_of
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.model import TSModel
from tsmodel.model.expressions import ColumnInfo
from tsmodel.model.meta import schema_of
from tsmodel.query import Query, QuerySpec
from tsmodel.query.executor import Executor
from tsmodel.query.sinks import Regrouped, Rows
from tsmodel.query.spec import has_one_layout
from tsmodel.timestamps import now_ns, to_iso
from tsmodel.types.declaring import did_you_mean
from tsmodel.web.describing import (
    VERSION,
    Endpoint,
    Parameter,
    Stream,
    choice,
    count,
    duration,
    identifiers,
    key,
    moment,
    text,
)
from tsmodel.web.formats import CONTENT_TYPES, Times, as_text, exact, numbers, records_stream, row_data, table_stream
from tsmodel.web.refusals import Refused
from tsmodel.web.slices import MOST_POINTS, Curve, Key, Work, count_of, rows_of, slices
from tsmodel.web.source import Catalogue, Source, is_drawn
from tsmodel.web.summaries import Summary, Windows

__all__ = ["Followed", "endpoints", "news"]

_MOST_BYTES: Final = 16 * 2**20
"""Approximate maximum size of a page of records."""
_MOST_NEWS: Final = 200
"""Maximum number of records in an event."""
_EPOCH: Final = np.datetime64("2001-01-01T00:00:00", "ns")


class Field(msgspec.Struct, kw_only=True):
    """A field of a model."""

    name: str
    type: str
    unit: str | None
    doc: str | None
    is_drawn: bool


class Model(msgspec.Struct, kw_only=True):
    """A model, which describes the payload of records."""

    name: str
    fixed: dict[str, int | str]
    fields: list[Field]


class About(msgspec.Struct, kw_only=True):
    """The target, its models, and the limits."""

    target: str
    version: str
    is_server: bool
    models: list[Model]
    limits: dict[str, int]
    now: str


class SeriesEntry(msgspec.Struct, kw_only=True):
    """A series: the records of one cid, mid and moid."""

    series: str
    cid: int
    mid: int | str
    moid: int
    records: int
    first: str
    last: str
    model: str | None


class SeriesPage(msgspec.Struct, kw_only=True):
    """A page of series, sorted by cid, mid and moid."""

    series: list[SeriesEntry]
    total: int
    offset: int
    is_whole: bool
    note: str | None


class RecordsPage(msgspec.Struct, kw_only=True):
    """A page of records in the order of time; pass `next` as `after` to get the page that follows."""

    records: list[dict[str, Any]]
    columns: list[str]
    start: str
    end: str
    next: str | None
    skipped: int


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The windows of one field of one series, as lists of equal length."""

    series: str
    field: str | None
    unit: str | None
    start: list[str]
    points: list[int] | None = None
    records: list[int] | None = None
    count: list[int] | None = None
    min: list[float | int | bool | str | None] | None = None
    max: list[float | int | bool | str | None] | None = None
    mean: list[float | int | str | None] | None = None
    first: list[float | int | bool | str | None] | None = None
    last: list[float | int | bool | str | None] | None = None
    first_time: list[str] | None = None
    last_time: list[str] | None = None


class WindowsAnswer(msgspec.Struct, kw_only=True):
    """Windows of the requested series."""

    every: str
    start: str
    end: str
    lines: list[Line]
    skipped: int


class Window(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A window as an object, for shape=rows."""

    time: str
    series: str
    field: str | None
    points: int | None = None
    records: int | None = None
    count: int | None = None
    min: float | int | bool | str | None = None
    max: float | int | bool | str | None = None
    mean: float | int | str | None = None
    first: float | int | bool | str | None = None
    last: float | int | bool | str | None = None
    first_time: str | None = None
    last_time: str | None = None


class Statistics(msgspec.Struct, kw_only=True):
    """Statistics of one field of one series; without quantiles if there are more than five million values."""

    series: str
    field: str | None
    unit: str | None
    points: int
    records: int
    corrected: int
    values: int
    first_time: str | None
    last_time: str | None
    typical_step: str | None
    longest_gap: str | None
    longest_gap_start: str | None
    min: float | int | bool | str | None = None
    min_time: str | None = None
    max: float | int | bool | str | None = None
    max_time: str | None = None
    mean: float | str | None = None
    std: float | str | None = None
    median: float | str | None = None
    p05: float | str | None = None
    p95: float | str | None = None
    first: float | int | bool | str | None = None
    last: float | int | bool | str | None = None


class StatisticsAnswer(msgspec.Struct, kw_only=True):
    """Statistics of the requested series."""

    start: str
    end: str
    lines: list[Statistics]
    skipped: int


class Followed(msgspec.Struct, kw_only=True):
    """The data of an event: new records."""

    acq: str
    records: list[dict[str, Any]]
    count: int
    start: str
    end: str


# Parameters

_SERIES: Final = key("series", "A series, as CID/MID/MOID. May be repeated.")
_MODEL: Final = text("model", "Name of the model. Default: the first that fits the series.", example="Reading")
_FROM: Final = moment("from", "Captured at this time or later. Default: no limit; for a server, the last day.")
_TO: Final = moment("to", "Captured before this time.")
_TIMES: Final = choice("times", "Times as ISO 8601 text, or as nanoseconds since 2001 in text.", ("iso", "ns"))
_VERSIONS: Final = choice(
    "versions", "The newest version of each point, or all versions: corrections and what they correct.", ("latest", "all")
)
_AS_OF: Final = moment("as_of", "The data as known at this time: only versions acquired until then.")
_ON_ERROR: Final = choice(
    "on_error", "Leave out and count payloads that do not match the model, or fail.", ("skip", "raise")
)
_FIELDS: Final = Parameter(
    "field",
    "A field. May be repeated. Default: all numeric fields. Without a model, records are counted.",
    str,
    {"type": "string"},
    is_repeated=True,
    example="volts",
)
_WHERE: Final = text("where", "A condition on fields, such as: volts > 240 and mid in [4711, 4712].", example="volts > 240")
_ACQ_FROM: Final = moment("acq_from", "Acquired at this time or later.")
_ACQ_TO: Final = moment("acq_to", "Acquired before this time.")
_COLUMNS: Final = text("columns", "Only these columns, separated by commas.", example="cap,mid,volts")
_SHAPE: Final = choice("shape", "Lists for each line, or one object for each window.", ("columns", "rows"))
_PICK: Final = (_SERIES, _MODEL, _FROM, _TO)
_RECORDS: Final = (*_PICK, _ACQ_FROM, _ACQ_TO, _WHERE, _VERSIONS, _AS_OF, _ON_ERROR, _COLUMNS)
_LISTED: Final = (
    text("q", "Words to search for: digits of ids, `1/4711`, or the name of a model. All must match.", example="4711"),
    identifiers("cid", "Client ids: 1, 1,2 or 1..10 (without 10)."),
    identifiers("mid", "Meter ids, as for cid."),
    identifiers("moid", "Meter object ids, as for cid."),
    _FROM,
    _TO,
)
_VALUES: Final = ("points", "records", "count", "min", "max", "mean", "first", "last", "first_time", "last_time")
_PLACE: Final = ("cap", "cid", "mid", "moid", "acq")
"""The order of records."""


class _Asked(NamedTuple):
    """The series, model and range of a request."""

    keys: list[Key]
    model: type[TSModel]
    start: int
    end: int


# About


def _about(source: Source, given: dict[str, Any], work: Work) -> About:  # noqa: ARG001
    limits = source.limits
    return About(
        target=source.name,
        version=VERSION,
        is_server=source.is_server,
        models=[_described(model) for model in source.models.values()],
        limits={name: getattr(limits, name) for name in ("records", "page", "windows", "lines")},
        now=to_iso(now_ns()),
    )


def _described(model: type[TSModel]) -> Model:
    schema = schema_of(model)
    infos = [column.info for column in schema.columns.values() if not column.info.is_key]
    said: dict[str, dict[str, Any]] = {info.name: {"unit": None, "doc": None} for info in infos}
    said |= {spec.name: {"unit": spec.options.unit, "doc": spec.options.doc} for spec in schema.specs}
    return Model(
        name=model.__name__,
        fixed={name: exact(value) for name, value in schema.fixed.items()},
        fields=[Field(name=info.name, type=info.codec.label, is_drawn=is_drawn(info), **said[info.name]) for info in infos],
    )


# Series


def _series(source: Source, given: dict[str, Any], work: Work) -> SeriesPage:
    catalogue, chosen = _found(source, given, work)
    is_recent = source.is_server and given["from"] is None and given["to"] is None
    note = None
    if not catalogue.is_whole:
        note = (
            "reading everything takes too long: some series are missing, and counts are too low; "
            "narrow the range with from= and to="
        )
    elif is_recent:
        note = (
            f"listing the series of a server reads its records: these were captured since {to_iso(catalogue.start)}; "
            "give from= and to= for others"
        )
    return SeriesPage(
        series=[_entry(source, each) for each in chosen[given["offset"] : given["offset"] + given["limit"]]],
        total=len(chosen),
        offset=given["offset"],
        is_whole=catalogue.is_whole and not is_recent,
        note=note,
    )


def _series_file(form: str, source: Source, given: dict[str, Any], work: Work) -> Stream:
    entries = [{**msgspec.structs.asdict(_entry(source, each)), "mid": each.mid} for each in _found(source, given, work)[1]]
    names = SeriesEntry.__struct_fields__
    return table_stream(form, {name: [each[name] for each in entries] for name in names}, "series")


def _found(source: Source, given: dict[str, Any], work: Work) -> tuple[Catalogue, list[Any]]:
    start, end = given["from"], given["to"]
    if start is None and end is None:
        catalogue = source.catalogue(work)
    else:
        low, high = (LIMITS["cap"].least if start is None else start, LIMITS["cap"].bound if end is None else end)
        _check_order(low, high)
        catalogue = source.found_between(low, high, work)
    words = (given["q"] or "").lower().split()
    chosen = [
        each
        for name, each in catalogue.series.items()
        if all(_is_in(given[part], value) for part, value in zip(("cid", "mid", "moid"), name, strict=True))
        and all(word in "/".join(map(str, name)) or word in (_model_name(source, name) or "").lower() for word in words)
    ]
    return catalogue, chosen


def _is_in(wanted: Any, value: int) -> bool:
    return wanted is None or value in wanted[0] or any(low <= value < high for low, high in wanted[1])


def _entry(source: Source, each: Any) -> SeriesEntry:
    name = (each.cid, each.mid, each.moid)
    return SeriesEntry(
        series="/".join(map(str, name)),
        cid=each.cid,
        mid=exact(each.mid),
        moid=each.moid,
        records=each.count,
        first=to_iso(each.cap_min),
        last=to_iso(each.cap_max),
        model=_model_name(source, name),
    )


def _model_name(source: Source, name: Key) -> str | None:
    model = source.model(None, [name])
    return None if model is Record else model.__name__


# Records


def _asked(source: Source, given: dict[str, Any], work: Work) -> _Asked:
    keys: list[Key] = list(dict.fromkeys(given["series"]))
    model = source.model(given["model"], keys)
    start, end = given["from"], given["to"]
    if start is None or end is None:
        low, high = source.span_of(keys, work)
        if start is None:
            start = low if end is None else max(min(low, end - 1), LIMITS["cap"].least)
        end = max(high, start + 1) if end is None else end
    _check_order(start, end)
    return _Asked(keys, model, start, end)


def _check_order(start: int, end: int) -> None:
    if start >= end:
        raise Refused(
            f"the range from {to_iso(start)} to {to_iso(end)} is empty", "from, to", "give a `to` that is after `from`"
        )


def _spec(source: Source, asked: _Asked, given: dict[str, Any]) -> QuerySpec[Any]:
    columns: Any = asked.model
    spec = source.spec(asked.model, asked.keys, given["on_error"])
    for name, compare in (("acq_from", ge), ("acq_to", lt), ("as_of", le)):
        if given[name] is not None:
            spec = spec.where(compare(columns.acq, given[name]))
    if given["where"] is not None:
        try:
            spec = spec.where(condition(given["where"], asked.model, dt.timezone.utc))
        except UsageError as error:
            what, _, remedy = str(error).removeprefix("--where ").partition("; ")
            raise Refused(
                what, "where", remedy or "write a condition such as volts > 240 and mid in [4711, 4712]"
            ) from None
    return spec


def _chosen(given: dict[str, Any], where: str, known: Sequence[str], wrong: str) -> list[str]:
    """The names in a parameter, separated by commas; all known names without any."""
    names = list(dict.fromkeys(each.strip() for each in (given[where] or "").split(",") if each.strip()))
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise Refused(f"{wrong.format(repr(name))}{hint}", where, f"name some of {', '.join(known)}")
    return names or list(known)


def _chosen_columns(asked: _Asked, given: dict[str, Any]) -> list[str]:
    return _chosen(given, "columns", names_of(asked.model), "{} is not a column")


def _records(source: Source, given: dict[str, Any], work: Work) -> RecordsPage:
    asked = _asked(source, given, work)
    names = _chosen_columns(asked, given)
    spec = _spec(source, asked, given)
    if given["versions"] == "latest" and given["where"] is not None:  # an older version must not take a newer one's place
        spec = spec.replaced(versions="latest")
    limit, is_descending, times = given["limit"], given["order"] == "-cap", given["times"]
    place = attrgetter(*(_column(asked.model, name).info.alias for name in _PLACE))
    start, end = asked.start, asked.end
    after: tuple[int, ...] | None = given["after"]
    if after is not None:
        start, end = (start, min(end, after[0] + 1)) if is_descending else (max(start, after[0]), end)

    def read(low: int, high: int) -> list[tuple[tuple[int, ...], Any]]:
        rows = rows_of(source.session, spec, low, high, work=work, most=4 * limit + 4096)
        placed = sorted(((place(row), row) for row in rows), key=lambda each: each[0])
        if given["versions"] == "latest":
            placed = list({each[0][:4]: each for each in placed}.values())
        if is_descending:
            placed.reverse()
        if after is None:
            return placed
        return [each for each in placed if (each[0] < after if is_descending else each[0] > after)]

    found: list[tuple[tuple[int, ...], Any]] = []
    width = source.slice_width(asked.keys, start, end, 2 * limit, work)
    for rows, widen in slices(start, end, width, read, backwards=is_descending):
        found += rows
        if len(found) > limit:
            break
        if len(rows) < limit // 2 + 1:
            widen(8)
    made, size = [], 0
    for at, (_, row) in enumerate(found[:limit]):
        data = row_data(row, times)
        size += sum(len(each) for each in data.values() if isinstance(each, str)) + 8 * len(data)
        if size > _MOST_BYTES and at:
            break
        made.append(data if len(names) == len(data) else {name: data[name] for name in names})
    is_more = len(found) > len(made)
    return RecordsPage(
        records=made,
        columns=names,
        start=as_text(asked.start, times),
        end=as_text(asked.end, times),
        next=",".join(map(str, found[len(made) - 1][0])) if is_more and made else None,
        skipped=work.skipped,
    )


def _after(value: str) -> tuple[int, ...]:
    """The place of a record, its key in the order of `_PLACE`."""
    parts = value.split(",")
    if len(parts) == len(_PLACE) and all(re.fullmatch(r"-?\d{1,19}", part, re.ASCII) for part in parts):
        place = tuple(map(int, parts))
        if all(LIMITS[name].least <= number < LIMITS[name].bound for name, number in zip(_PLACE, place, strict=True)):
            return place
    raise Refused(f"{value!r} is not a position", "after", "give the `next` of the page before")


def _records_file(form: str, source: Source, given: dict[str, Any], work: Work) -> Stream:
    asked = _asked(source, given, work)
    names = _chosen_columns(asked, given)
    spec = _spec(source, asked, given)
    if given["versions"] == "latest":
        spec = spec.replaced(versions="latest")
    if has_one_layout(asked.model):
        spec = spec.replaced(order=tuple(_column(asked.model, each) for each in _PLACE[:4]))
    width = source.slice_width(asked.keys, asked.start, asked.end, MOST_POINTS // 4, work)
    columns: Any = asked.model

    def read(low: int, high: int) -> tuple[Query[Any], int]:
        within = spec.where(columns.cap.between(low, high))
        records = count_of(source.session, within, work)
        work.take(records)
        return Query(within, source.session), records

    def queries() -> Iterator[Query[Any]]:
        for (query, records), widen in slices(asked.start, asked.end, width, read):
            if records:
                yield query
            if records < MOST_POINTS // 16:
                widen(4)

    _check_expected(source, asked, work)
    name = "-".join(["records", *("_".join(map(str, each)) for each in asked.keys[:3])])
    return records_stream(form, asked.model, queries(), names, name)


def _check_expected(source: Source, asked: _Asked, work: Work) -> None:
    """Refuses a file that is known to exceed the limit, and would break off midway."""
    if source.is_server:
        return
    catalogue = source.catalogue(work)
    entries = [catalogue.series[each] for each in asked.keys if each in catalogue.series] or list(catalogue.series.values())
    inside = sum(each.count for each in entries if asked.start <= each.cap_min and each.cap_max < asked.end)
    Work(source.limits.records).take(inside)


def _column(model: type[TSModel], name: str) -> Any:
    return schema_of(model).columns[name]


# Windows


def _curves(source: Source, asked: _Asked, given: dict[str, Any], work: Work) -> list[Curve]:
    if not asked.keys:
        raise Refused("no series is named", "series", "give series=CID/MID/MOID; /api/series lists them")
    source.check_known(asked.keys, work)
    infos = _drawn_fields(asked.model, given["field"])
    curves = [Curve(asked.model, each, info, given["versions"] == "all") for each in asked.keys for info in infos]
    if len(curves) > (most := source.limits.lines):
        raise Refused(
            f"{len(asked.keys)} series and {len(infos)} fields make {len(curves)} lines; the limit is {most}",
            "series, field",
            "name fewer series or fields",
        )
    return curves


def _drawn_fields(model: type[TSModel], names: Sequence[str]) -> list[ColumnInfo | None]:
    columns = [column.info for column in schema_of(model).columns.values()]
    drawn = {info.alias: info for info in columns if is_drawn(info)}
    for name in names:
        if name not in drawn:
            known = {info.alias for info in columns}
            raise Refused(
                f"{name!r} is not numeric" if name in known else f"there is no field {name!r}{did_you_mean(name, drawn)}",
                "field",
                f"name some of {', '.join(drawn)}" if drawn else "leave it out to count records",
            )
    return [drawn[name] for name in dict.fromkeys(names)] or list(drawn.values()) or [None]


def _label(curve: Curve) -> dict[str, Any]:
    """The series and field of a curve, as in responses."""
    return {"series": "/".join(map(str, curve.key)), "field": curve.info and curve.info.alias}


def _unit(curve: Curve) -> str | None:
    return schema_of(curve.model).members[curve.info.alias].options.unit if curve.info is not None else None


def _found_windows(source: Source, given: dict[str, Any], work: Work) -> tuple[_Asked, int, list[tuple[Curve, Windows]]]:
    """The request, the length of the windows, and those of each curve."""
    asked = _asked(source, given, work)
    curves = _curves(source, asked, given, work)
    most = source.limits.windows
    every = given["every"] or source.every(asked.keys, asked.start, asked.end, given["windows"], work)
    if (asked.end - asked.start) // every > most:
        raise Refused(
            f"the range has {(asked.end - asked.start) // every:,} windows of {every:,} ns; the limit is {most:,}",
            "every",
            "make them longer, narrow the range, or give windows=N instead",
            413,
        )
    return asked, every, [(each, source.windows(each, asked.start, asked.end, every, work)) for each in curves]


def _windows(source: Source, given: dict[str, Any], work: Work) -> Any:
    asked, every, found = _found_windows(source, given, work)
    times, wanted = given["times"], _chosen_values(given)
    if given["shape"] == "rows":
        return [
            {"time": start, **_label(curve), **dict(zip(wanted, row, strict=True))}
            for curve, windows in found
            for start, *row in zip(
                _starts(windows, times), *(_values(windows, name, curve.info, times) for name in wanted), strict=True
            )
        ]
    return WindowsAnswer(
        every=str(every),
        start=as_text(asked.start, times),
        end=as_text(asked.end, times),
        lines=[
            Line(
                **_label(curve),
                unit=_unit(curve),
                start=_starts(windows, times),
                **{name: _values(windows, name, curve.info, times) for name in wanted},
            )
            for curve, windows in found
        ],
        skipped=work.skipped,
    )


def _windows_file(form: str, source: Source, given: dict[str, Any], work: Work) -> Stream:
    wanted = _chosen_values(given)
    columns: dict[str, Any] = {name: [] for name in ("time", "series", "field", *wanted)}
    for curve, windows in _found_windows(source, given, work)[2]:
        columns["time"] += _starting(windows)
        for name, value in _label(curve).items():
            columns[name] += [value] * len(windows)
        for name in wanted:
            columns[name] += _values(windows, name, curve.info, "iso")
    columns["time"] = _EPOCH + np.array(columns["time"], "timedelta64[ns]")
    return table_stream(form, columns, "windows")


def _chosen_values(given: dict[str, Any]) -> list[str]:
    return _chosen(given, "values", _VALUES, "windows have no {}")


def _starts(windows: Windows, times: Times) -> list[str]:
    return [as_text(each, times) for each in _starting(windows)]


def _starting(windows: Windows) -> list[int]:
    """The start of each window; that of the least time for a window that starts before it."""
    return [max(number * windows.every, LIMITS["cap"].least) for number in windows.number.tolist()]


def _values(windows: Windows, name: str, info: ColumnInfo | None, times: Times) -> Any:
    """One of `_VALUES` of each window."""
    if name in ("points", "records"):
        return getattr(windows, name).tolist()
    if name in ("first_time", "last_time"):
        return [as_text(each, times) for each in getattr(windows, name).tolist()]
    if name == "count" and info is not None:
        return windows.count.tolist()
    if info is None or not len(windows):
        return [None] * len(windows)
    return numbers(getattr(windows, name), windows.count > 0, info.codec.present.digits)


# Statistics


def _statistics(source: Source, given: dict[str, Any], work: Work) -> StatisticsAnswer:
    asked, times = _asked(source, given, work), given["times"]
    lines = []
    for curve in _curves(source, asked, given, work):
        summary = Summary(None if curve.info is None else curve.info.codec.present.digits)
        for points in source.points(curve, asked.start, asked.end, work):
            summary.add(points)
        lines.append(Statistics(**_label(curve), unit=_unit(curve), **summary.told(times)))
    return StatisticsAnswer(
        start=as_text(asked.start, times), end=as_text(asked.end, times), lines=lines, skipped=work.skipped
    )


# What is new


def news(source: Source, given: dict[str, Any], position: int, work: Work) -> tuple[int, Followed | None]:
    """The next position, and the records acquired since a position; None without any.

    Args:
        source: the target.
        given: the values of the request's parameters.
        position: acq before which everything was seen, ns since 2001; -1 for now.
        work: ends the reading early.
    """
    keys: list[Key] = list(dict.fromkeys(given["series"]))
    model = source.model(given["model"], keys)
    columns: Any = model
    known = source.session.backend.last_acq(KeyRange())
    if position < 0 or known <= position:
        return max(known, position), None
    source.look_again()
    spec = source.spec(model, keys).where(columns.acq.between(position, known))
    count = 0
    caps: list[int] = []
    rows: list[Any] = []
    executor = Executor(spec, source.session)
    for batch in executor.stream(executor.streaming(Rows, Regrouped(4096))):
        work.check()
        count += len(batch)
        rows = [*rows, *batch][-_MOST_NEWS:]
        caps = [each(cap for cap in (*caps, *(row.key.cap for row in batch))) for each in (min, max)]
    if not count:
        return known, None
    times = given["times"]
    start, end = (as_text(each, times) for each in caps)
    return known, Followed(
        acq=as_text(known, times), records=[row_data(row, times) for row in rows], count=count, start=start, end=end
    )


# All of them

_TABLE: Final = "application/json"


def _files(path: str, summary: str, parameters: tuple[Parameter, ...], forms: Sequence[str], work: Any) -> list[Endpoint]:
    text = "Sent while it is read. Closing the connection ends the reading."
    return [
        Endpoint(
            f"{path}.{form}", f"{summary}, as {form}", text, parameters, {CONTENT_TYPES[form]: None}, partial(work, form)
        )
        for form in forms
    ]


def endpoints(source: Source) -> list[Endpoint]:
    """All endpoints, with the limits of a source."""
    limits = source.limits
    windows = (
        *_PICK,
        _FIELDS,
        duration("every", "Length of the windows, which begin at multiples of it since 2001."),
        count("windows", "Approximate number of windows, if `every` is not given.", 1000, 1, limits.windows),
        text("values", f"Only these of {', '.join(_VALUES)}, separated by commas.", example="min,max,mean"),
        _VERSIONS,
    )
    page = (
        count("limit", "Maximum number of series on this page.", 100, 1, limits.page),
        count("offset", "Number of series to skip.", 0, 0, 10**15),
    )
    return [
        Endpoint("/api", "About", "The target, its models, and the limits.", (), {_TABLE: About}, _about),
        Endpoint(
            "/api/series",
            "Series",
            "Sorted by cid, mid and moid, in pages. With from or to, only records in this range count.",
            (*_LISTED, *page),
            {_TABLE: SeriesPage},
            _series,
        ),
        *_files("/api/series", "All series", _LISTED, ("csv", "arrow"), _series_file),
        Endpoint(
            "/api/records",
            "Records",
            "In the order of time, in pages: pass `next` as `after`. Without a model, payloads are in hex.",
            (
                *_RECORDS,
                choice("order", "Oldest or newest first.", ("cap", "-cap")),
                count("limit", "Maximum number of records on this page.", 100, 1, limits.page),
                Parameter("after", "The `next` of the page before.", _after, {"type": "string"}),
                _TIMES,
            ),
            {_TABLE: RecordsPage},
            _records,
        ),
        *_files("/api/records", "All records", _RECORDS, ("csv", "jsonl", "arrow", "parquet"), _records_file),
        Endpoint(
            "/api/windows",
            "Minimum, maximum and mean of windows of time",
            "The data for a chart: `min` and `max` keep every spike. Windows that overlap the range are returned whole; "
            "windows without records are left out. `points` counts capture times, `records` all versions, and `count` the "
            "values that are present and not NaN. With versions=all, each version is a point of its own.",
            (*windows, _SHAPE, _TIMES),
            {_TABLE: (WindowsAnswer, list[Window])},
            _windows,
        ),
        *_files("/api/windows", "Windows", windows, ("csv", "arrow"), _windows_file),
        Endpoint(
            "/api/statistics",
            "Statistics of a range",
            "Minimum and maximum with their times, mean, sample standard deviation, quantiles, typical step, longest "
            "gap, and the number of corrected points.",
            (*_PICK, _FIELDS, _VERSIONS, _TIMES),
            {_TABLE: StatisticsAnswer},
            _statistics,
        ),
        Endpoint(
            "/api/follow",
            "New records as they are committed",
            "A stream of server-sent events with `Followed` as their data. The id of an event is its position: a client "
            "that reconnects with Last-Event-ID continues there. An event has at most 200 records; `count` is the number "
            "of new records.",
            (_SERIES, _MODEL, moment("since", "Start with records acquired at this time. Default: now."), _TIMES),
            {"text/event-stream": None},
        ),
    ]
