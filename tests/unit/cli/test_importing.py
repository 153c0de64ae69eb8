"""`tsmodel import`: a model inferred from a CSV file, saved, and used again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.commands import Run

from tsmodel import connect, to_iso
from tsmodel.cli.inference import Given, inferred
from tsmodel.cli.models import csv_options, model_of

METERS = (
    "\ufeffZähler;Datum;Uhrzeit;Spannung [V];Strom (A);OK;Bemerkung;leer\r\n"
    "4711;24.10.2026;01:30;231,5;1;true;a;\r\n"
    "4711;24.10.2026;02:30;231,75;NA;false;;\r\n"
    "4712;24.10.2026;02:30;1230;3;true;x;\r\n"
)


def found(work: Path, text: str, **given: Any) -> Any:
    path = work / "f.csv"
    path.write_bytes(text.encode(given.pop("written", "utf-8")))
    return inferred(path, Given("Found", **given))


@pytest.mark.parametrize("saved", ["meters.toml", "meters.py"])
def test_import(run: Run, work: Path, saved: str) -> None:
    (work / "meters.csv").write_bytes(METERS.encode())
    done = run("import", "meters.csv", "--to", "m.tsdb", "--tz", "Europe/Vienna", "--save", saved)
    assert done.status == 0, done.err
    assert "stored 3 records in m.tsdb" in done.out
    assert "spannung" in done.out
    assert "'leer' has no values" in done.err
    rows = [
        json.loads(line) for line in run("get", "m.tsdb", "-m", saved, "--json", "--order-by", "cap,mid").out.splitlines()
    ]
    assert [row["cap"] for row in rows] == ["2026-10-23T23:30:00Z", "2026-10-24T00:30:00Z", "2026-10-24T00:30:00Z"]
    assert [(row["mid"], row["spannung"], row["strom"], row["ok"], row["bemerkung"]) for row in rows] == [
        (4711, 231.5, 1, True, "a"),
        (4711, 231.75, None, False, ""),
        (4712, 1230.0, 3, True, "x"),
    ]
    assert model_of(saved).layout.fields[0].name == "spannung"
    # The same again, with the model that was saved, and with the one that is inferred.
    for arguments in (("--model", saved), ("--tz", "Europe/Vienna", "--save", saved)):
        done = run("import", "meters.csv", "--to", "m.tsdb", "--unless-stored", *arguments)
        assert done.status == 0, done.err
        assert "stored 0 records" in done.out
        assert "left out 3 records that were stored before" in done.out
    assert len(list(model_of(saved).load_csv("meters.csv", **csv_options(saved)))) == 3


def test_lines_that_are_wrong_are_kept(run: Run, work: Path) -> None:
    text = METERS + "4711;25.10.2026;02:30;5;1;true;;\r\n4711;26.10.2026;02:30;hoch;1;true;;\r\n4711;too;few\r\n"
    (work / "meters.csv").write_bytes(text.encode())
    done = run("import", "meters.csv", "--to", "m.tsdb", "--tz", "Europe/Vienna")
    assert done.status == 3
    assert "line 5, column 'when' (cap): '25.10.2026 02:30' is ambiguous" in done.err
    assert "--ambiguous earlier or later" in done.err
    assert "line 6, column 'Spannung [V]'" in done.err
    assert "line 7: 3 cells" in done.err
    assert "rejected 3 lines: they are in meters.rejected.csv, the reasons in meters.rejected.txt" in done.out
    kept = (work / "meters.rejected.csv").read_text(encoding="utf-8").splitlines()
    assert [line.rstrip("\r") for line in kept] == [
        line.strip("\ufeff") for line in (text.splitlines()[0], *text.splitlines()[4:])
    ]
    assert len((work / "meters.rejected.txt").read_text().splitlines()) == 3
    # What was rejected is read by the same model once it is mended.
    (work / "meters.rejected.csv").write_text("\n".join(kept[:2]) + "\n", encoding="utf-8")
    done = run(
        "import", "meters.rejected.csv", "--to", "m.tsdb", "--model", "meters.toml", "--ambiguous", "later", "--json"
    )
    assert json.loads(done.out)["stored"] == 1
    with connect("m.tsdb") as session:
        last = session.query(model_of("meters.toml")).order_by(model_of("meters.toml").cap.desc()).first()  # type: ignore[attr-defined]
    assert last is not None
    assert to_iso(last.cap) == "2026-10-25T01:30:00Z"


def test_dry_run_writes_nothing(run: Run, work: Path) -> None:
    (work / "a.csv").write_text("time,volts\n2026-01-01T00:00:00Z,1.5\n")
    before = sorted(work.iterdir())
    shown = json.loads(run("import", "a.csv", "--dry-run", "--json").out)
    assert shown["fields"] == {"volts": {"type": "Float64"}}
    assert shown["key"] == {"cid": 1, "mid": 1, "moid": 1}
    assert sorted(work.iterdir()) == before


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2"], "Int64"),
        (["9223372036854775807", "-1"], "Int64"),
        (["9223372036854775808", "1"], "Text"),
        (["1", "2.5"], "Float64"),
        (["1e5", "NaN", "-inf"], "Float64"),
        (["0.1234567890123456789", "1"], "Text"),
        (["007", "008"], "Text"),
        (["true", "False"], "Bool"),
        (["yes", "no"], "Bool"),
        (["a", "b"], "Text"),
        (["a", ""], "Text"),
        (["1", ""], "Nullable"),
        (["1.5", "NA"], "Nullable"),
        (["12345678-1234-5678-1234-567812345678"] * 2, "Uuid"),
        (["2026-01-01", "2026-01-02"], "Date"),
        (["2026-01-01T00:00:00Z", "2026-01-02T00:00:00+01:00"], "Timestamp"),
        (["1.234.567,8", "2.345.678,9"], "Text"),
        (["1", "2", "3", "4", "x"], "Int64"),
        (["1", "x"], "Text"),
        (["1", "2", "3", "4", "n.v.", "n.v."], "Nullable"),
    ],
)
def test_types(work: Path, cells: list[str], kind: str) -> None:
    lines = [f"2026-01-01T00:00:{n:02}Z;{cell}" for n, cell in enumerate(cells)]
    model = found(work, "\n".join(["time;value", *lines]) + "\n")
    assert model.fields["value"]["type"] == kind
    (work / "f.toml").write_text(model.toml())
    made: Any = model_of("f.toml")
    rejected: list[object] = []
    rows = list(made.load_csv(work / "f.csv", errors=rejected.append, **csv_options("f.toml")))
    assert len(rows) == len(cells) - (cells[-1] == "x" and kind == "Int64")
    compile(model.python(), "f.py", "exec")


@pytest.mark.parametrize(
    ("cell", "form", "is_local"),
    [
        ("2026-01-31T12:00:00Z", None, False),
        ("2026-01-31 12:00", None, True),
        ("2026-01-31", None, True),
        ("31.01.2026 12:00:01", "%d.%m.%Y %H:%M:%S", True),
        ("31/01/2026 12:00", "%d/%m/%Y %H:%M", True),
        ("01/31/2026 12:00", "%m/%d/%Y %H:%M", True),
        ("01/31/2026 12:00 PM", "%m/%d/%Y %I:%M %p", True),
        ("2026/01/31 12:00", "%Y/%m/%d %H:%M", True),
        ("1769860800", "unix", False),
        ("1769860800000", "unix_ms", False),
    ],
)
def test_formats_of_times(work: Path, cell: str, form: str | None, is_local: bool) -> None:
    model = found(work, f"timestamp,volts\n{cell},1\n", tz="UTC")
    assert (model.csv.get("time_format", {}).get("timestamp"), model.local_column is not None) == (form, is_local)
    (work / "f.toml").write_text(model.toml())
    (row,) = model_of("f.toml").load_csv(work / "f.csv", **csv_options("f.toml"))
    assert to_iso(row.cap).startswith("2026-01-31T00:00" if cell == "2026-01-31" else "2026-01-31T12:00")


def test_what_else_is_found(work: Path) -> None:
    model = found(work, 'Export\n\ntime\tvolts\tvolts\tfür\n2026-01-01T00:00:00Z\t"1,5"\t2\tä\n', written="cp1252")
    assert model.csv["delimiter"] == "\t"
    assert model.csv["encoding"] == "cp1252"
    assert list(model.fields) == ["volts", "volts_2", "fuer"]
    assert model.csv["decimal"] == {"volts": ","}
    (work / "f.toml").write_text(model.toml())
    (row,) = model_of("f.toml").load_csv(work / "f.csv", **csv_options("f.toml"))
    assert (row.volts, row.volts_2, row.fuer) == (1.5, 2, "ä")


@pytest.mark.parametrize(
    ("lines", "decimal", "types"),
    [
        (["t,v", 'T,"1,234"', "U,999"], None, {"v": "Text"}),
        (["t,v", 'T,"1,234"', "U,999"], ",", {"v": "Float64"}),
        (["t,v", 'T,"1,234"', 'U,"0,999"'], None, {"v": "Float64"}),  # nobody writes 999 as 0,999
        (["t;v", "T;1,234", "U;2,345"], None, {"v": "Float64"}),
        (["t;v;w", "T;1.234;1,5", "U;2.345;2,5"], None, {"v": "Text", "w": "Float64"}),
        (["t;v;w", "T;1.234;1.5", "U;2.345;2.5"], None, {"v": "Float64", "w": "Float64"}),
    ],
)
def test_a_mark_that_may_group_digits_is_no_decimal_point(
    work: Path, lines: list[str], decimal: str | None, types: dict[str, str]
) -> None:
    text = "\n".join(lines).replace("T", "2026-01-02T10:00Z").replace("U", "2026-01-02T11:00Z")
    made = found(work, text, decimal=decimal)
    assert {name: options["type"] for name, options in made.fields.items()} == types
    assert any("may group digits" in note for note in made.notes) == ("Text" in types.values())


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        (
            ["0.1", "0.14285714285714285", "1.7142857142857142e-05"],
            "Float64",
        ),  # as Python, JavaScript and pandas write floats
        (["0.10000000000000001", "-231.69999999999999"], "Float64"),  # with 17 digits, as C's "%.17g"
        (["0.1", "0.1428571428571428571"], "Text"),
        (["9007199254740993.5"], "Text"),
    ],
)
def test_numbers_with_many_digits(work: Path, numbers: list[str], kind: str) -> None:
    made = found(work, "".join(["time,v\n", *(f"2026-01-01T00:00:00Z,{number}\n" for number in numbers)]))
    assert made.fields["v"]["type"] == kind
    assert made.notes[:1] == (
        ["column 'v' has numbers with more digits than a float keeps, so it is text"] * (kind == "Text")
    )
    (work / "f.toml").write_text(made.toml())
    rows = model_of("f.toml").load_csv(work / "f.csv", **csv_options("f.toml"))
    assert [str(row.v) for row in rows] == [str(float(each)) if kind == "Float64" else each for each in numbers]  # type: ignore[attr-defined]


def test_columns_of_the_key(work: Path) -> None:
    model = found(work, "cid,Meter ID,moid,cap,acq,volts\n1,2,3,2026-01-01T00:00:00Z,2026-01-01T00:00:00Z,5\n")
    assert (model.keywords, list(model.fields)) == ({}, ["volts"])
    (work / "f.toml").write_text(model.toml())
    (row,) = model_of("f.toml").load_csv(work / "f.csv", **csv_options("f.toml"))
    assert (row.cid, row.mid, row.moid, row.acq) == (1, 2, 3, -1)
    model = found(work, "cid,mid,moid,cap,volts\n-1,x,3,5,5\n")
    assert (model.keywords, list(model.fields)) == ({"cid": 1, "mid": 1}, ["cid_", "mid_", "volts"])
    assert model.notes == [
        "column 'cid' has numbers beyond 0 to 2147483646, the range of cid, so it becomes a field",
        "column 'mid' is text, but mid needs integers, so it becomes a field",
    ]
    model = found(work, "meter,time,volts\n4711,2026-01-01T00:00:00Z,5\n,2026-01-01T00:00:00Z,5\n")
    assert model.notes == ["column 'meter' has lines without a value, but each record needs a mid, so it becomes a field"]


def test_a_line_for_spreadsheets(work: Path) -> None:
    model = found(work, "sep=;\ntime;volts\n2026-01-01T00:00:00Z;1\n")
    (work / "f.toml").write_text(model.toml())
    (row,) = model_of("f.toml").load_csv(work / "f.csv", **csv_options("f.toml"))
    assert row.volts == 1  # type: ignore[attr-defined]


def test_a_file_without_a_header(work: Path) -> None:
    model = found(work, "2026-01-01T00:00:00Z,4711,1.5\n2026-01-01T00:01:00Z,4711,1.5\n")
    assert list(model.fields) == ["column2", "column3"]
    (work / "f.toml").write_text(model.toml())
    assert len(list(model_of("f.toml").load_csv(work / "f.csv", **csv_options("f.toml")))) == 2


@pytest.mark.parametrize("name", ["class", "query", "acq", "9lives", "???", "layout", "a b-c", "schema"])
def test_names_that_fields_cannot_have(work: Path, name: str) -> None:
    model = found(work, f"time,{name},volts\n2026-01-01T00:00:00Z,1,2\n")
    for suffix, text in (("toml", model.toml()), ("py", model.python())):
        (work / f"f_{suffix}.{suffix}").write_text(text)
        saved = f"f_{suffix}.{suffix}"
        (row,) = model_of(saved).load_csv(work / "f.csv", **csv_options(saved))
        assert row.volts == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "arguments", "wording"),
    [
        ("", (), "is empty"),
        ("a,b\n1,2\n", (), "no column is a time"),
        ("1,2,3,5,00ff\n", (), "tsmodel put"),
        ("time\n2026-01-01T00:00:00Z\n", (), "nothing to store"),
        ("time,a\n01/02/2026 12:00,1\n", (), "may be day/month or month/day"),
        (
            "time,a\n2026-01-01 12:00,1\n",
            (),
            "a.csv: the times in column 'time' have no offset from UTC: give their time zone",
        ),
        ("time,a\n", (), "a.csv has no lines of data below its header, time, a"),
        ("time,a\n2026-01-01T00:00:00Z,1\n", ("--delimiter", ";;"), "--delimiter ';;' is not a character"),
        (
            "time,a\n2026-01-01 12:00,1\n2026-01-02 12:00,1\n",
            ("--time-format", "%d.%m.%Y", "--tz", "UTC"),
            "none of its 2 lines is a record, so nothing is stored: line 2, column 'time' (cap): '2026-01-01 12:00'",
        ),
        ("time,a\n2026-01-01 12:00,1\n", ("--tz", "Mars/Base"), "no time zone"),
        ("time,a\nx,1\n", ("--time", "time"), "give --time-format"),
        ("time,a\n5,1\n", ("--time", "when"), "no column 'when'"),
        ("time,a\n2026-01-01T00:00:00Z,1\n", ("--column", "b=volts"), "no column 'b'"),
        ("time,a\n2026-01-01T00:00:00Z,1\n", ("--column", "b"), "is not NAME=FIELD"),
        ("time,a\n2026-01-01T00:00:00Z,1\n", ("--save", "x.txt"), ".toml or .py"),
        ("time,a\n2026-01-01T00:00:00Z,1\n", ("--save", "meter_models.py"), "has another model"),
        ("time,a\n2026-01-01T00:00:00Z,1\n", ("--name", "a b"), "is not a name"),
        ("time,a\n2026-01-01T00:00:00Z,1\n", ("--encoding", "x"), "no encoding 'x'"),
        ("time,a\n2026-01-01T00:00:00Z,\xff\n", ("--encoding", "ascii"), "is not ascii"),
        ("PAR1\0\0", (), "is binary"),
        ("time,a\n2026-01-01T00:00:00Z,1\n", ("--model", "meter_models:Reading", "--mid", "5"), "--mid is for"),
    ],
)
def test_what_has_to_be_said(run: Run, work: Path, text: str, arguments: tuple[str, ...], wording: str) -> None:
    (work / "a.csv").write_text(text)
    done = run("import", "a.csv", "--to", "a.tsdb", *arguments)
    assert (done.status, done.out) == (2, "")
    assert wording in done.err
    assert done.err.count("\n") == 1
    assert sorted(each.name for each in work.iterdir()) == ["a.csv", "meter_models.py"]


def test_a_dry_run_refuses_what_the_import_refuses(run: Run, work: Path) -> None:
    (work / "a.csv").write_text("time,a\n2026-01-01 12:00,1\n")
    done = run("import", "a.csv", "--time-format", "%d.%m.%Y", "--tz", "UTC", "--dry-run")
    assert (done.status, done.out) == (2, "")
    assert "its only line is not a record" in done.err
    assert run("import", "a.csv", "--tz", "UTC", "--to", "a.tsdb").status == 0
    (work / "a.csv").write_text("time,a\n2026-01-01 12:00,x\n")
    done = run("import", "a.csv", "--model", "a.toml", "--to", "b.tsdb")
    assert (done.status, done.out) == (2, "")
    assert "line 2, column 'a': 'x'" in done.err
    assert not (work / "b.tsdb").exists()


def test_kinds_of_data_do_not_mix(run: Run, work: Path) -> None:
    (work / "meters.csv").write_text("mid,time,volts\n1,2026-01-01T00:00:00Z,230.5\n")
    (work / "temps.csv").write_text("mid,time,celsius\n1,2026-01-01T00:00:00Z,21.5\n")
    assert run("import", "meters.csv", "--to", "m.tsdb").status == 0
    done = run("import", "temps.csv", "--to", "m.tsdb")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert "m.tsdb already has records with cid 1, moid 1" in done.err
    assert "give --moid 2 for another kind of data, or --model meters.toml" in done.err
    assert not (work / "temps.toml").exists()
    assert run("import", "temps.csv", "--to", "m.tsdb", "--moid", "2").status == 0
    assert "230.5" in run("get", "m.tsdb", "-m", "meters.toml", "--json").out
    assert "21.5" not in run("get", "m.tsdb", "-m", "meters.toml", "--json").out
    # The next number that is free, a corrected file with its own model, and the same file again.
    assert "--moid 3" in run("import", "meters.csv", "--to", "m.tsdb", "--save", "other.toml").err
    (work / "meters.csv").write_text("mid,time,volts\n1,2026-01-01T00:00:00Z,231\n")
    done = run("import", "meters.csv", "--to", "m.tsdb", "--model", "meters.toml", "--unless-stored")
    assert (done.status, done.err) == (0, "")
    latest = run("get", "m.tsdb", "-m", "meters.toml", "--latest", "--json").out
    assert [json.loads(line)["volts"] for line in latest.splitlines()] == [231]


def test_a_file_for_each_meter(run: Run, work: Path) -> None:
    for mid in ("1", "2"):
        (work / f"m{mid}.csv").write_text("time,volts\n2026-01-01T00:00:00Z,230.5\n")
        assert run("import", f"m{mid}.csv", "--to", "m.tsdb", "--mid", mid).status == 0
    done = run("import", "m2.csv", "--to", "m.tsdb", "--mid", "2")
    assert done.status == 2
    assert "already has records with cid 1, mid 2, moid 1" in done.err
    assert "or --model m2.toml to add" in done.err


def test_files_that_there_are_not(run: Run, work: Path) -> None:
    assert "there is no file" in run("import", "no.csv", "--to", "a.tsdb").err
    assert "is a directory" in run("import", ".", "--to", "a.tsdb").err
    (work / "a.csv").write_text("time,a\n2026-01-01T00:00:00Z,1\n")
    assert "give a target for the records" in run("import", "a.csv").err
    done = run("import", "a.csv", "--to", "tstorage://127.0.0.1:1")
    assert done.status == 1
    assert "127.0.0.1" in done.err


@pytest.mark.parametrize(
    ("text", "wording"),
    [
        ("[model", "is not TOML"),
        ("[other]\n", "no section [other]"),
        ("fields = 5\n", "fields is not a section"),
        ("[model]\nname = 'a b'\n", "is not a name"),
        ("[model]\nnam = 'a'\n", "[model] takes"),
        ("[fields]\nvolts = 'Flot32'\n", "did you mean Float32"),
        ("[fields]\nvolts = 5\n", "no type 5"),
        ("[fields]\nvolts = { type = 'Float32', digits = 2 }\n", "digits"),
        ("[fields]\n'a b' = 'Float32'\n", "'a b' is not a name"),
        ("[fields]\nquery = 'Float32'\n", "query"),
        ("[csv]\ndelimter = ';'\n", "not delimter"),
    ],
)
def test_schemas_that_are_wrong(run: Run, readings: Path, work: Path, text: str, wording: str) -> None:
    (work / "x.toml").write_text(text)
    done = run("get", readings, "--model", "x.toml")
    assert done.status == 2
    assert wording in done.err
    assert done.err.count("\n") == 1


def test_lines_behind_those_that_types_are_inferred_from(run: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsmodel.cli.inference._LOOK_LINES", 50)
    lines = [f"7,2026-03-01T00:{n:02}:00Z,{n}" for n in range(59)]
    (work / "m.csv").write_text("\n".join(["mid,time,count", *lines, "7,2026-03-02T00:00:00Z,2.5"]) + "\n")
    done = run("import", "m.csv", "--to", "m.tsdb")
    assert done.status == 3
    assert "note: types are inferred from the first 50 lines; later lines that do not fit are rejected\n" in done.err
    assert "rejected: line 61, column 'count': '2.5' (str) is not an int from -9223372036854775808" in done.err
    again = "the lines in m.rejected.csv, and store them with `tsmodel import m.rejected.csv --to m.tsdb --model m.toml`"
    assert again in done.err
    assert "if a field needs another type, undo the import with `tsmodel undo`, change the field in m.toml" in done.err
    (work / "m.rejected.csv").write_text((work / "m.rejected.csv").read_text().replace("2.5", "3"))
    done = run("import", "m.rejected.csv", "--to", "m.tsdb", "--model", "m.toml")
    assert (done.status, done.err) == (0, "")
    assert '"records": 60' in run("info", "m.tsdb", "--json").out


def test_a_file_that_is_seen_whole_has_no_such_note(run: Run, work: Path) -> None:
    lines = [f"7,2026-03-01T00:{n:02}:00Z,{n}" for n in range(20)]
    (work / "m.csv").write_text("\n".join(["mid,time,count", *lines, "7,yesterday,3"]) + "\n")
    done = run("import", "m.csv", "--to", "m.tsdb")
    assert done.status == 3
    assert "inferred from the first" not in done.err
    assert "fix the lines in m.rejected.csv" in done.err
    assert "types are those" not in done.err
