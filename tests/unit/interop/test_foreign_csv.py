"""CSV files from other programs: local times, time formats, decimal commas per column, lines before the header."""

from __future__ import annotations

import datetime as dt
import gc
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsmodel import DateTime, Float32, Mid, Nullable, Text, Timestamp, TSModel, UInt32, field, to_iso, to_ns
from tsmodel.errors import ConversionError
from tsmodel.interop.csv_times import LocalTimes


class Reading(TSModel, cid=1, moid=1):
    meter: Mid
    volts: Float32 = field(default=0.0)
    amps: Float32 = field(default=0.0)
    seen: Nullable[int] = field(item=Timestamp, default=None)
    due: Nullable[dt.datetime] = field(item=DateTime, default=None)
    note: Text = field(default="")


def load(text: str, **options: Any) -> list[Reading]:
    return list(Reading.load_csv(io.StringIO(text, newline=""), **options))


def test_local_times() -> None:
    text = (
        "meter,cap,seen,due\n1,2026-07-01 12:00,2026-01-01T00:00:00.123456789,2026-01-01T01:00:00Z\n"
        "1,2026-07-01,,\n1,5,5,5000\n"
    )
    first, midnight, numbers = load(text, tz="Europe/Vienna")
    assert to_iso(first.cap) == "2026-07-01T10:00:00Z"
    assert first.seen == to_ns("2025-12-31T23:00:00.123456789Z")
    assert first.due == dt.datetime(2026, 1, 1, 1, tzinfo=dt.timezone.utc)
    assert to_iso(midnight.cap) == "2026-06-30T22:00:00Z"
    assert (midnight.seen, numbers.cap, numbers.seen) == (None, 5, 5)


@pytest.mark.parametrize(("ambiguous", "utc"), [("earlier", "00:30"), ("later", "01:30")])
def test_ambiguous_local_times(ambiguous: Any, utc: str) -> None:
    text = "meter,cap\n1,2026-10-25T02:30:00\n"
    (row,) = load(text, tz="Europe/Vienna", ambiguous=ambiguous)
    assert to_iso(row.cap) == f"2026-10-25T{utc}:00Z"
    with pytest.raises(ConversionError, match="line 2, column 'cap': .* is ambiguous in Europe/Vienna"):
        load(text, tz="Europe/Vienna")


@pytest.mark.parametrize("ambiguous", ["raise", "earlier", "later"])
def test_nonexistent_local_times_are_refused(ambiguous: Any) -> None:
    with pytest.raises(ConversionError, match="does not exist in"):
        load("meter,cap\n1,2026-03-29T02:30:00\n", tz="Europe/Vienna", ambiguous=ambiguous)


@given(
    st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2060, 1, 1)), st.sampled_from(["Europe/Vienna", "America/St_Johns"])
)
def test_local_times_match_zoneinfo(moment: dt.datetime, name: str) -> None:
    zone = ZoneInfo(name)
    both = [moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
    utc = [each.astimezone(dt.timezone.utc) for each in both]
    if utc[0].astimezone(zone).replace(tzinfo=None) != moment:
        return  # does not exist
    for ambiguous, wanted in (("earlier", min(utc)), ("later", max(utc))):
        read = LocalTimes(name, ambiguous, None)  # type: ignore[arg-type]
        assert int(read(moment.isoformat())) == to_ns(wanted)


@pytest.mark.parametrize(
    ("form", "cell"),
    [
        ("%d.%m.%Y %H:%M", "01.07.2026 12:00"),
        ("%m/%d/%y %I:%M %p", "07/01/26 12:00 PM"),
        ("%Y%m%d%H%M%z", "202607011200+0200"),
        ("unix", "1782900000"),
        ("unix", "1782900000.000"),
        ("unix_ms", "1782900000000"),
        ("unix_ns", "1782900000000000000"),
    ],
)
def test_time_formats(form: str, cell: str) -> None:
    (row,) = load(f"meter,cap\n1,{cell}\n", tz="Europe/Vienna", time_format=form)
    assert to_iso(row.cap) == "2026-07-01T10:00:00Z"
    (row,) = load(f"meter,cap,seen\n1,{cell},5\n", tz="Europe/Vienna", time_format={"cap": form})
    assert (to_iso(row.cap), row.seen) == ("2026-07-01T10:00:00Z", 5)


@pytest.mark.parametrize("cell", ["", "x", "1e999", "NaN", "1_0", "0.0000000001", "9" * 30, "٣"])
def test_invalid_unix_time_is_refused(cell: str) -> None:
    with pytest.raises(ConversionError, match="line 2, column 'cap'"):
        load(f"meter,cap\n1,{cell}\n", time_format="unix")


def test_date_and_time_in_two_columns() -> None:
    (row,) = load(
        "date,time,meter\n2026-07-01,12:00,1\n",
        join={"when": ["date", "time"]},
        columns={"when": "cap"},
        tz="Europe/Vienna",
    )
    assert to_iso(row.cap) == "2026-07-01T10:00:00Z"
    with pytest.raises(ConversionError, match="line 2, column 'when' \\(cap\\): 'x 12:00'"):
        load("date,time,meter\nx,12:00,1\n", join={"when": ["date", "time"]}, columns={"when": "cap"}, tz="UTC")


def test_decimal_comma_per_column() -> None:
    text = 'meter;cap;volts;amps\n1;5;"1,5";2.5\n'
    (row,) = load(text, delimiter=";", decimal={"volts": ","})
    assert (row.volts, row.amps) == (1.5, 2.5)
    with pytest.raises(ConversionError, match=r"column 'volts': .*has a point"):
        load("meter;cap;volts\n1;5;1.5\n", delimiter=";", decimal={"volts": ","})


def test_several_null_markers() -> None:
    rows = load("meter,cap,seen,note\n1,5,NA,NA\n1,5,,x\n1,5,-,y\n", null=["", "NA", "-"])
    assert [row.seen for row in rows] == [None, None, None]
    assert [row.note for row in rows] == ["NA", "x", "y"]


def test_lines_before_the_header() -> None:
    text = 'Export of "today"\n\nmeter,cap\n1,5\n1,x\n'
    with pytest.raises(ConversionError, match="line 5, column 'cap'"):
        load(text, skip_lines=2)
    assert [row.cap for row in load("a,a\n1,5\n", skip_lines=1, names=["meter", "cap"])] == [5]
    with pytest.raises(ConversionError, match="the file is empty"):
        load("meter,cap\n", skip_lines=5)


@pytest.mark.parametrize(
    ("options", "wording"),
    [
        ({"tz": "Mars/Base"}, "no time zone"),
        ({"constants": "x"}, "constants='x'; expected a dict"),
        ({"columns": ["mid"]}, "expected a dict"),
        ({"join": "when"}, "expected a dict"),
        ({"encoding": "utf-88"}, "encoding='utf-88': there is no such encoding"),
        ({"tz": "UTC", "ambiguous": "both"}, "ambiguous"),
        ({"ambiguous": "later"}, "give tz="),
        ({"time_format": "x"}, "a format such as"),
        ({"time_format": "%H:%M"}, "give tz="),
        ({"decimal": {"volts": ";"}}, "decimal"),
        ({"skip_lines": -1}, "skip_lines"),
    ],
)
def test_invalid_arguments_are_refused(options: Mapping[str, Any], wording: str) -> None:
    with pytest.raises(ValueError, match=wording):
        load("meter,cap\n1,5\n", **options)


@pytest.mark.parametrize(
    ("options", "wording"),
    [
        ({"decimal": {"vol": ","}}, "'vol'.*does not have this column"),
        ({"time_format": {"when": "unix"}}, "'when'.*does not have this column"),
        ({"join": {"when": ["date", "cap"]}}, "'date'.*does not have this column"),
        ({"join": {"cap": ["cap"]}}, "'cap'.*is a column of the file"),
    ],
)
def test_unknown_columns_are_refused(options: Mapping[str, Any], wording: str) -> None:
    with pytest.raises(ConversionError, match=wording):
        load("meter,cap\n1,5\n", **options)


class Note(TSModel):
    text: Text = field(prefix=UInt32)


def test_cells_beyond_the_csv_module_limit() -> None:
    """By default the csv module refuses cells of more than 131,072 characters."""
    written = [Note(cid=1, mid=1, moid=1, cap=0, text='a "quote", ' * 20_000)]
    file = io.StringIO(newline="")
    Note.dump_csv(written, file)
    file.seek(0)
    assert list(Note.load_csv(file)) == written


def test_utf16_file_without_bom_is_refused(tmp_path: Path) -> None:
    """Python alone raises a bare UnicodeError."""
    path = tmp_path / "notes"
    path.write_text("cid,mid,moid,cap,text\n1,1,1,0,a\n")
    for load in (Note.load_csv, Note.load_jsonl):
        with pytest.raises(
            ConversionError, match=r"(?i)the file is not .*stream does not start with BOM\): give encoding="
        ):
            list(load(path, encoding="utf-16"))


def test_a_reader_that_is_abandoned_may_end_after_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    path = tmp_path / "f.csv"
    path.write_text("cid,mid,moid,cap,text\n" + "1,1,1,5,x\n" * 3)
    with path.open("rb") as file:
        rows = Note.load_csv(file)
        next(iter(rows))
    del rows
    gc.collect()
    assert reported == []
