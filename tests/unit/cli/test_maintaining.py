"""`tsmodel backup`, `verify`, `recover`, `compact` and `doctor`."""

from __future__ import annotations

import json
import sqlite3
import ssl
from pathlib import Path

import pytest
import trustme
from support.commands import Run

from tsmodel.server import serve_in_thread


def damaged(path: Path) -> None:
    """Changes a byte within the first block."""
    with sqlite3.connect(path) as connection:
        number, data = connection.execute("SELECT * FROM blocks LIMIT 1").fetchone()
        column = [row[1] for row in connection.execute("PRAGMA table_info(blocks)")]
        spoiled = data[:20] + bytes([data[20] ^ 255]) + data[21:]
        connection.execute(f"UPDATE blocks SET {column[1]} = ? WHERE {column[0]} = ?", (spoiled, number))
    connection.close()


def test_backup_and_verify(run: Run, readings: Path) -> None:
    assert run("backup", readings, "copy.tsdb").out == "copied 200 records to copy.tsdb; the copy is intact\n"
    assert run("verify", "copy.tsdb").status == 0
    found = json.loads(run("verify", "copy.tsdb", "--json").out)
    assert (found["is_whole"], found["records"], found["faults"]) == (True, 200, [])
    done = run("backup", readings, "copy.tsdb")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "copy.tsdb exists" in done.err


def test_damage(run: Run, readings: Path) -> None:
    damaged(readings)
    done = run("verify", readings)
    assert done.status == 1
    assert "block" in done.out
    assert "tsmodel recover" in done.err
    assert json.loads(run("verify", readings, "--json").out)["faults"][0]["records"] == 200
    done = run("recover", readings, "saved.tsdb")
    assert done.status == 1
    assert "0 records recovered, 200 known to be lost" in done.out
    done = run("get", readings)
    assert done.status == 1
    assert done.err.count("\n") == 1


def test_compact(run: Run, readings: Path) -> None:
    assert "in 1 run now" in run("compact", readings).out
    assert json.loads(run("compact", readings, "--json").out)["runs_after"] == 1
    assert json.loads(run("info", readings, "--json").out)["records"] == 200


@pytest.mark.parametrize("command", ["backup", "verify", "recover", "compact", "undo", "prune"])
def test_files_only(run: Run, readings: Path, command: str) -> None:
    new = {
        "backup": ("new.tsdb",),
        "recover": ("new.tsdb",),
        "undo": ("--list",),
        "prune": ("-m", "meter_models:Reading"),
    }.get(command, ())
    for target, status in (("no.tsdb", 1), ("memory:", 2), ("tstorage://127.0.0.1:1", 2), (".", 1), ("meter_models.py", 1)):
        done = run(command, target, *new)
        assert (done.status, done.out, done.err.count("\n")) == (status, "", 1)
    assert run(command).status == 2
    assert not Path("no.tsdb").exists()
    assert not Path("new.tsdb").exists()


def test_undo(run: Run, readings: Path, work: Path) -> None:
    (work / "wrong.csv").write_text("1,1,1,1,00\n1,1,1,2,00\n")
    assert run("put", "wrong.csv", "--to", readings).status == 0
    first, last = json.loads(run("undo", readings, "--list", "--json").out)
    assert (first["records"], last["records"], last["note"], last["undone"]) == (200, 2, "tsmodel put wrong.csv", None)
    assert "tsmodel put wrong.csv" in run("undo", readings, "--list").out
    for arguments, status, wording in (
        ((), 2, "takes the numbers of puts"),
        (("99",), 2, "has no put 99; `tsmodel undo"),
        (("x",), 2, "integer"),
        (("--list", "1"), 2, "cannot be combined"),
    ):
        done = run("undo", readings, *arguments)
        assert (done.status, done.out, done.err.count("\n")) == (status, "", 1)
        assert wording in done.err
    assert run("undo", readings, str(last["put"]), "--note", "by mistake").out == "removed 2 records\n"
    assert json.loads(run("info", readings, "--json").out)["records"] == 200
    assert json.loads(run("undo", readings, "--list", "--json").out)[1]["undone"] is not None
    assert run("undo", readings, str(last["put"])).status == 1


def test_prune(run: Run, readings: Path, work: Path) -> None:
    done = run("prune", readings, "--model", "meter_models:Reading")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert "retention" in done.err
    assert run("prune", readings).status == 2
    source = (
        (work / "meter_models.py")
        .read_text()
        .replace("class Reading(TSModel, moid=7)", "class Reading(TSModel, moid=7, retention='1s')")
    )
    (work / "kept.py").write_text(source)
    assert run("prune", readings, "--model", "kept.py", "--dry-run").out == "would remove 200 records\n"
    assert json.loads(run("prune", readings, "--model", "kept.py", "--json").out) == {"removed": 200}
    assert json.loads(run("info", readings, "--json").out)["records"] == 0


def results(out: str) -> dict[str, str]:
    return {finding["check"]: finding["result"] for finding in json.loads(out)}


def test_doctor_of_a_file(run: Run, readings: Path) -> None:
    done = run("doctor", readings, "--json")
    assert done.status == 0
    found = results(done.out)
    assert set(found) == {"open", "clock", "read", "writable", "disk", "fsync"}
    assert found["open"] == found["clock"] == "ok"
    assert run("doctor", readings).out.startswith("ok    open         200 records in 2 series\n")
    assert run("doctor", "no.tsdb").status == 1
    assert run("doctor", "memory:").status == 0


def test_doctor_of_a_server(run: Run) -> None:
    with serve_in_thread() as (host, port):
        done = run("doctor", f"tstorage://{host}:{port}", "--json")
        assert done.status == 0
        assert results(done.out) == dict.fromkeys(("name", "connect", "answers", "clock", "read"), "ok")
        done = run("doctor", f"tstorage://{host}:{port}?tls=1&timeout=5", "--json")
        assert (done.status, results(done.out)["tls"]) == (1, "fail")
    done = run("doctor", f"tstorage://{host}:{port}", "--json")
    assert (done.status, results(done.out)) == (1, {"name": "ok", "connect": "fail"})


def test_doctor_of_tls(run: Run, work: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path("ca.pem")
    other.cert_pem.write_to_path("other.pem")
    with serve_in_thread(ssl_context=context) as (host, port):
        done = run("doctor", f"tstorage://{host}:{port}?tls=1&ca=ca.pem", "--json")
        assert done.status == 0
        assert results(done.out)["tls"] in ("ok", "warn")
        assert "the certificate ends" in done.out
        done = run("doctor", f"tstorage://{host}:{port}?tls=1&ca=other.pem", "--json")
        assert (done.status, results(done.out)["tls"]) == (1, "fail")
        assert "ca=FILE" in done.out
        done = run("doctor", f"tstorage://{host}:{port}?timeout=1", "--json")
        assert (done.status, results(done.out)["answers"]) == (1, "fail")
        assert "?tls=1" in done.out


def test_recover_says_what_can_be_known(run: Run, readings: Path, work: Path) -> None:
    from tsmodel import connect

    with connect(readings):  # its journal has the puts
        (work / "copy.tsdb").write_bytes(readings.read_bytes())
    done = run("recover", "copy.tsdb", "saved.tsdb")
    assert done.status == 1
    assert "records recovered, how many were lost is not known" in done.out
    assert "copy the original with `tsmodel backup`" in done.err
    assert json.loads(run("recover", "copy.tsdb", "again.tsdb", "--json").out)["may_have_lost_more"]
