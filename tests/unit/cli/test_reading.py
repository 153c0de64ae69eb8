"""`tsmodel info`, `series`, `get` and `follow`."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import Run

from tsmodel import connect
from tsmodel.cli.models import Record, models_of
from tsmodel.server import serve_in_thread

MODEL = ("--model", "meter_models:Reading")


def lines(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


def test_info(run: Run, readings: Path) -> None:
    done = run("info", readings)
    assert done.status == 0
    assert ["records", "200"] in lines(done.out)
    assert ["first", "cap", "2026-11-01T00:00:00Z"] in lines(done.out)
    found = json.loads(run("info", readings, "--json").out)
    assert (found["records"], found["series"], found["cids"]["1"]["records"]) == (200, 2, 200)
    assert found["last_cap"] == "2026-11-01T01:39:00Z"


def test_info_of_a_server_and_of_memory(run: Run, readings: Path) -> None:
    with serve_in_thread(str(readings)) as (host, port):
        found = json.loads(run("info", f"tstorage://{host}:{port}", "--json").out)
    assert (found["records"], found["series"], found["cids"]["1"]["series"]) == (200, 2, 2)
    assert abs(found["behind_seconds"]) < 60
    assert json.loads(run("info", "memory:", "--json").out)["records"] == 0


def test_info_of_a_server_shows_progress(run: Run, readings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, int]] = []

    @contextmanager
    def progress(what: str) -> Iterator[Any]:
        yield lambda done, total: steps.append((what, done))

    monkeypatch.setattr("tsmodel.cli.reading.progress", progress)
    with serve_in_thread(str(readings)) as (host, port):
        assert run("info", f"tstorage://{host}:{port}").status == 0
    assert steps[-1] == ("reading all records", 200)


def test_target_from_the_environment(run: Run, readings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSMODEL_URL", str(readings))
    assert ["records", "200"] in lines(run("info").out)


def test_series(run: Run, readings: Path) -> None:
    done = run("series", readings, "--cap", "2026-11-01T00:10..", "--mid", "4712..")
    assert lines(done.out)[1:] == [["1", "4712", "7", "90", "2026-11-01T00:10:00Z", "2026-11-01T01:39:00Z"]]
    assert [each["records"] for each in json.loads(run("series", readings, "--json").out)] == [100, 100]


def test_get_without_a_model(run: Run, readings: Path) -> None:
    done = run("get", readings, "--mid", "4711", "--cap", "2026-11-01T00:01..2026-11-01T00:02")
    header, row = lines(done.out)
    assert header == ["cid", "mid", "moid", "cap", "acq", "payload"]
    assert row[:4] == ["1", "4711", "7", "2026-11-01T00:01:00Z"]
    assert bytes.fromhex(row[5])[1:5] == (1).to_bytes(4, "little")  # after the byte that marks present values


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_get_as_text(run: Run, readings: Path, form: str) -> None:
    arguments = ("get", readings, *MODEL, "--where", "volts > 236 and state == ON", "--order-by=-cap,mid", "-n", "3")
    done = run(*arguments, "--columns", "cap,mid,volts,note", "--format", form)
    assert done.status == 0
    if form == "jsonl":
        rows = [list(json.loads(line).values()) for line in done.out.splitlines()]
    elif form == "csv":
        rows = list(csv.reader(io.StringIO(done.out)))[1:]
    else:
        rows = lines(done.out)[1:]
    expected = [
        ["2026-11-01T01:39:00Z", 4711, 239.0, "odd"],
        ["2026-11-01T01:39:00Z", 4712, 239.0, "odd"],
        ["2026-11-01T01:37:00Z", 4711, 237.0, "odd"],
    ]
    assert [list(map(str, row)) for row in rows] == [list(map(str, row)) for row in expected]


def test_get_output_can_be_loaded(run: Run, readings: Path, work: Path) -> None:
    (model,) = models_of(["meter_models:Reading"])
    with connect(readings, read_only=True) as session:
        stored = sorted(session.query(model).all(), key=lambda row: row.key)
    assert run("get", readings, *MODEL, "-o", "out.csv").err == "wrote 200 records to out.csv\n"
    assert sorted(model.load_csv("out.csv"), key=lambda row: row.key) == stored
    assert run("get", readings, *MODEL, "-o", "out.jsonl").status == 0
    assert sorted(model.load_jsonl("out.jsonl"), key=lambda row: row.key) == stored
    assert run("get", readings, *MODEL, "-o", "out.parquet").status == 0
    assert pq.read_table(work / "out.parquet").num_rows == 200
    assert run("get", readings, "-o", "out.arrow").status == 0
    with pa.OSFile(str(work / "out.arrow")) as file:
        assert pa.ipc.open_stream(file).read_all()["payload"].null_count == 0
    assert sorted(path.name for path in work.glob("*out*")) == ["out.arrow", "out.csv", "out.jsonl", "out.parquet"]


def test_output_file_is_complete_or_unchanged(run: Run, readings: Path, work: Path) -> None:
    (work / "wrong.py").write_text("from tsmodel import Float64, TSModel\nclass Wrong(TSModel):\n    value: Float64\n")
    (work / "out.csv").write_text("as it was")
    done = run("get", readings, "--model", "wrong.py", "-o", "out.csv")
    assert done.status == 1
    assert "takes 8" in done.err
    assert "--on-error skip" in done.err
    assert done.err.count("\n") == 1
    assert (work / "out.csv").read_text() == "as it was"
    assert not list(work.glob(".*"))
    done = run("get", readings, "--model", "wrong.py", "--on-error", "skip")
    assert done.status == 3
    assert "left out 200 records" in done.err


def test_follow(run: Run, readings: Path, work: Path) -> None:
    arguments = ("follow", readings, *MODEL, "--no-wait", "--checkpoint", "seen.json", "--json")
    assert len(run(*arguments).out.splitlines()) == 200
    assert run(*arguments).out == ""
    with connect(readings) as session:
        session.add(models_of(["meter_models:Reading"])[0](cid=1, mid=1, cap=5, counter=5, volts=1.5, state=1))
    assert [json.loads(line)["counter"] for line in run(*arguments).out.splitlines()] == [5]
    assert run("follow", readings, "--no-wait").out == ""
    assert len(run("follow", readings, "--no-wait", "--since", "beginning", "-f", "csv").out.splitlines()) == 202


@pytest.mark.parametrize(
    ("arguments", "status", "wording"),
    [
        (("get", "absent.tsdb"), 1, "absent.tsdb does not exist"),
        (("get", "."), 1, "is a directory"),
        (("get",), 2, "no TARGET was given"),
        (("get", "meter_models.py"), 1, "not a"),
        (("get", "readings.tsdb", "--model", "kept:Kept"), 2, "did you mean the file kept.toml?"),
        (("series",), 2, "no TARGET was given"),
        (("series", "tstorage://host?timeuot=3"), 2, "option 'timeuot'"),
        (("get", "http://x"), 2, "unknown target"),
        (("get", "tstorage://127.0.0.1:1"), 1, "127.0.0.1"),
        (("get", "readings.tsdb", "--mid", "x"), 2, "--mid 'x'"),
        (("get", "readings.tsdb", "--cap", "x"), 2, "--cap 'x' is not a time"),
        (("get", "readings.tsdb", "--where", "payload > 5"), 2, "payload"),
        (("get", "readings.tsdb", "--where", "volts > 5"), 2, "volts is not a column"),
        (("get", "readings.tsdb", "--columns", "cap,vol"), 2, "vol is not a column"),
        (("get", "readings.tsdb", "--columns", "cap,cap"), 2, "twice"),
        (("get", "readings.tsdb", "--order-by", ""), 2, "--order-by"),
        (("get", "readings.tsdb", "--order-by", "x"), 2, "x is not a column"),
        (("get", "readings.tsdb", "--limit", "-1"), 2, "limit"),
        (("get", "readings.tsdb", "--limit", "x"), 2, "limit"),
        (("get", "readings.tsdb", "--format", "xml"), 2, "format"),
        (("get", "readings.tsdb", "--format", "parquet"), 2, "give -o FILE"),
        (("get", "readings.tsdb", "-o", "out.xls"), 2, "the format is not clear from its name"),
        (("get", "readings.tsdb", "-o", "no/where/out.csv"), 2, "there is no directory"),
        (("get", "readings.tsdb", "-f", "csv", "-o", "."), 2, "is a directory"),
        (("get", "readings.tsdb", "--json", "-f", "csv"), 2, "exclude each other"),
        (("get", "readings.tsdb", "--tz", "Mars/Base"), 2, "Mars/Base"),
        (("get", "readings.tsdb", "--model", "nothing"), 2, "No module named 'nothing'"),
        (("get", "readings.tsdb", "--model", "nothing.toml"), 2, "there is no file nothing.toml"),
        (("get", "readings.tsdb", "--model", "meter_models:Nothing"), 2, "it has Reading"),
        (("get", "readings.tsdb", "--model", ""), 2, "module"),
        (("get", "readings.tsdb", "--nonsense"), 2, "nonsense"),
        (("get", "readings.tsdb", "other.tsdb"), 2, "other.tsdb"),
        (("follow", "readings.tsdb", "--poll", "0s"), 1, "poll"),
        (("follow", "readings.tsdb", "--since", "x"), 2, "not a time"),
        (("follow", "readings.tsdb", "--checkpoint", "."), 1, "directory"),
        (("series", "readings.tsdb", "--cap", "2026-11-02..2026-11-01"), 2, "is empty"),
        (("info", "file:readings.tsdb?x=1"), 2, "unknown or repeated option"),
    ],
)
def test_errors_take_one_line(run: Run, readings: Path, arguments: tuple[str, ...], status: int, wording: str) -> None:
    Path("kept.toml").write_text("")
    done = run(*arguments)
    assert wording in done.err
    assert done.err.count("\n") == 1
    assert done.err.startswith("tsmodel: ")
    assert (done.status, done.out) == (status, "")


def test_reading_writes_nothing(run: Run, readings: Path, work: Path) -> None:
    before = readings.read_bytes()
    for command in ("info", "series", "get"):
        assert run(command, readings).status == 0
    assert readings.read_bytes() == before
    assert run("get", "memory:").err == "no records\n"
    assert len(list(work.glob("readings*"))) == 1


def test_empty_payload(run: Run, work: Path) -> None:
    with connect("empty.tsdb") as session:
        session.add(Record(cid=1, mid=1, moid=1, cap=1, payload=b""))
    assert json.loads(run("get", "empty.tsdb", "--json").out)["payload"] == ""


def test_get_recovers_a_leftover_journal(run: Run, work: Path) -> None:
    with connect("open.tsdb") as session:
        session.add(Record(cid=1, mid=1, moid=1, cap=1, payload=b"x"))
        session.flush()
        for end in ("", "-wal"):
            shutil.copy(f"open.tsdb{end}", f"left.tsdb{end}")
    assert json.loads(run("get", "left.tsdb", "--json").out)["payload"] == "78"
    assert not (work / "left.tsdb-wal").exists()
