"""`tsmodel put` and `copy`."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support.commands import Run

from tsmodel import connect
from tsmodel.cli.models import Record
from tsmodel.server import serve_in_thread

MODEL = ("--model", "meter_models:Reading")
OFFICIAL = "1,4711,7,5,00ff\n1,4711,7,6,\n"


def keys(target: str | Path) -> list[tuple[int, ...]]:
    with connect(target, read_only=True) as session:
        return sorted(row.key.astuple() for row in session.query(Record))


def given(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))  # type: ignore[type-var]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_put_reads_get_output(run: Run, readings: Path, form: str) -> None:
    assert run("get", readings, *MODEL, "-o", f"out.{form}").status == 0
    done = run("put", f"out.{form}", "--to", "other.tsdb", *MODEL, "--keep-acq")
    assert (done.status, done.out) == (0, "stored 200 records in other.tsdb\n")
    assert keys("other.tsdb") == keys(readings)
    done = run("put", f"out.{form}", "--to", "other.tsdb", *MODEL, "--unless-stored", "--json")
    assert json.loads(done.out)["stored_before"] == 200


def test_official_client_files(run: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "official.csv").write_text(OFFICIAL)
    assert run("put", "official.csv", "--to", "a.tsdb").out == "stored 2 records in a.tsdb\n"
    given(monkeypatch, OFFICIAL.encode())
    assert run("put", "-", "-f", "csv", "--to", "a.tsdb").out == "stored 2 records in a.tsdb\n"
    rows = [json.loads(line) for line in run("get", "a.tsdb", "--json", "--order-by", "cap").out.splitlines()]
    assert [row["payload"] for row in rows] == ["00ff", "00ff", "", ""]
    given(monkeypatch, run("get", "a.tsdb", "-f", "csv").out.encode())
    assert run("put", "-", "-f", "csv", "--to", "b.tsdb", "--keep-acq").status == 0
    assert keys("b.tsdb") == keys("a.tsdb")


def test_invalid_lines_are_rejected(run: Run, work: Path) -> None:
    (work / "bad.jsonl").write_text('{"cid":1,"mid":1,"moid":1,"cap":1,"payload":"00"}\n{"cid":1}\nnonsense\n')
    done = run("put", "bad.jsonl", "--to", "a.tsdb")
    assert done.status == 3
    assert "line 2" in done.err
    assert (work / "bad.rejected.jsonl").read_text() == '{"cid":1}\nnonsense\n'
    done = run("put", "bad.jsonl", "--to", "a.tsdb", "--json")
    assert json.loads(done.out)["rejected_lines"] == "bad.rejected-2.jsonl"


def test_put_to_a_server(run: Run, work: Path) -> None:
    (work / "official.csv").write_text(OFFICIAL)
    with serve_in_thread() as (host, port):
        target = f"tstorage://{host}:{port}"
        assert run("put", "official.csv", "--to", target).status == 0
        assert json.loads(run("info", target, "--json").out)["records"] == 2
    done = run("put", "official.csv", "--to", target)
    assert done.status == 1
    assert done.out == ""


def test_server_that_goes_away(run: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tsmodel.session import Session

    (work / "official.csv").write_text(OFFICIAL)
    flush = Session.flush

    def broken(self: Session, *arguments: Any) -> object:
        if self.pending:
            raise ConnectionResetError(104, "Connection reset by peer")
        return flush(self, *arguments)

    monkeypatch.setattr(Session, "flush", broken)
    done = run("put", "official.csv", "--to", "a.tsdb")
    assert done.status == 1
    assert done.err == "nothing was stored\ntsmodel: Connection reset by peer\n"


def test_copy(run: Run, readings: Path) -> None:
    arguments = ("copy", readings, "copy.tsdb", "--mid", "4711", "--checkpoint", "copy.json")
    assert "copied 100 records to copy.tsdb" in run(*arguments).out
    assert json.loads(run(*arguments, "--json").out)["records"] == 0
    assert keys("copy.tsdb") == [key for key in keys(readings) if key[1] == 4711]
    with serve_in_thread() as (host, port):
        done = run("copy", readings, f"tstorage://{host}:{port}")
        assert (done.status, done.err) == (0, "")
        assert run("copy", f"tstorage://{host}:{port}", "back.tsdb").status == 0
    assert keys("back.tsdb") == keys(readings)
    done = run("copy", readings, "back.tsdb", "--mid", "4711")
    assert done.status == 0
    assert "warning: back.tsdb already has records" in done.err
    assert "--checkpoint FILE" in done.err
    assert run("copy", readings, "back.tsdb", "--mid", "5").err == ""


@pytest.mark.parametrize(
    ("arguments", "status", "wording"),
    [
        (("put", "no.csv", "--to", "a.tsdb"), 2, "there is no file no.csv"),
        (("put", ".", "--to", "a.tsdb"), 2, "is a directory"),
        (("put", "x", "--to", "a.tsdb"), 2, "there is no file x"),
        (("put", "-", "--to", "a.tsdb"), 2, "give --format"),
        (("put", "readings.tsdb", "--to", "a.tsdb"), 2, "give --format"),
        (("put", "-", "-f", "parquet", "--to", "a.tsdb"), 2, "standard input"),
        (("put", "a.csv", "-m", "meter_models:Reading"), 2, "no TARGET was given"),
        (("put", "a.csv", "-m", "meter_models:Reading", "--to", "no/where/a.tsdb"), 1, "there is no directory"),
        (("put", "a.csv", "-m", "meter_models:Reading", "--to", "file:a.tsdb?read_only=1"), 2, "read_only"),
        (("put", "a.csv", "--to", "a.tsdb"), 2, "has 2 columns"),
        (("put", "a.csv", "--to", "a.tsdb", "-m", "meter_models:Reading"), 1, "the columns do not match"),
        (("put", "a.csv", "--to", "a.tsdb", "-m", "meter_models:Reading", "--tz", "Mars/Base"), 2, "no time zone"),
        (("put", "a.csv", "--to", "a.tsdb", "-m", "meter_models:Reading", "--ambiguous", "later"), 2, "tz"),
        (("put", "a.csv", "--to", "a.tsdb", "-m", "meter_models:Reading", "--encoding", "x"), 2, "x"),
        (("put", "a.csv", "--to", "a.tsdb", "-m", "meter_models:Reading", "--delimiter", "ab"), 2, "delimiter"),
        (("put", "a.csv", "--to", "a.tsdb", "-m", "meter_models:Reading", "--column", "x"), 2, "NAME=FIELD"),
        (("put", "a.jsonl", "--to", "a.tsdb", "--delimiter", ";"), 2, "is for CSV files"),
        (("put", "a.jsonl", "--to", "a.tsdb", "--encoding", "x"), 2, "there is no encoding 'x'"),
        (("copy", "readings.tsdb"), 2, "TARGET"),
        (("copy", "no.tsdb", "a.tsdb"), 1, "does not exist"),
        (("copy", "readings.tsdb", "file:./readings.tsdb"), 1, "would hold every record twice"),
        (("copy", "readings.tsdb", "a.tsdb", "--checkpoint", "a.csv"), 1, "a.csv"),
        (("copy", "readings.tsdb", "a.tsdb", "--cap", "x"), 2, "not a time"),
    ],
)
def test_put_and_copy_errors(
    run: Run, readings: Path, work: Path, arguments: tuple[str, ...], status: int, wording: str
) -> None:
    (work / "a.csv").write_text("x,y\n1,2\n")
    (work / "a.jsonl").write_text("{}\n")
    done = run(*arguments)
    assert wording in done.err
    assert (done.status, done.out) == (status, "")
