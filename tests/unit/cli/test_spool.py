"""`tsmodel spool`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.batches import batches
from support.commands import Run

from tsmodel.server import serve_in_thread
from tsmodel.store.spool_file import SpoolFile


@pytest.fixture
def spool(work: Path) -> SpoolFile:
    """A spool of three puts, one of them set aside."""
    file = SpoolFile(str(work / "edge.spool"))
    file.prepare(["127.0.0.1:1"])
    for n in range(3):
        file.append(batches([(1, n, 0, 5, b"abc")]), with_acq=False, unless_stored=False)
    file.mark([2], 0)
    file.settle(aside=[(2, "undecided", "another writer")])
    return file


def test_shows_waiting_puts(run: Run, spool: SpoolFile) -> None:
    done = run("spool", "edge.spool")
    assert done.status == 0
    assert "for 127.0.0.1:1\n2 records in 2 puts wait (54 bytes), the oldest since 20" in done.out
    assert "1 put set aside, of 1 record: --set-aside lists them" in done.out
    found = json.loads(run("spool", "edge.spool", "--json").out)
    assert (found["records"], found["puts"], found["bytes"], found["target"]) == (2, 2, 54, ["127.0.0.1:1"])
    assert [(each["put"], each["reason"]) for each in found["set_aside"]] == [(2, "undecided")]
    listed = run("spool", "edge.spool", "--set-aside").out.splitlines()
    assert listed[0].split() == ["put", "spooled", "records", "reason", "what", "happened"]
    assert listed[1].split()[0] == "2"


def test_drains(run: Run, spool: SpoolFile) -> None:
    done = run("spool", "edge.spool", "--drain", "--timeout", "300ms")
    assert done.status == 1
    assert "not all is sent: connecting to 127.0.0.1:1 failed" in done.err
    with serve_in_thread() as (host, port):
        target = f"tstorage://{host}:{port}?timeout=20"
        done = run("spool", "edge.spool", "--drain", "--to", target)
        assert done.status == 1
        assert f"--retarget tstorage://{host}:{port}" in done.err
        done = run("spool", "edge.spool", "--retarget", target, "--drain", "--to", target, "--timeout", "60s")
        assert (done.status, done.err) == (3, "")
        assert "nothing waits" in done.out
        assert json.loads(run("info", target, "--json").out)["records"] == 2


def test_retry_resend_and_discard(run: Run, spool: SpoolFile) -> None:
    done = run("spool", "edge.spool", "--discard", "1")
    assert (done.status, "no put 1 is set aside" in done.err) == (1, True)
    assert run("spool", "edge.spool", "--retry", "2").status == 0
    assert spool.totals().in_doubt == 1  # the database is asked before the put is sent
    spool.settle(aside=[(1, "refused", "INVARG"), (3, "refused", "INVARG")])
    assert run("spool", "edge.spool", "--resend", "1").status == 0
    assert [each.number for each in spool.set_aside()] == [3]
    assert run("spool", "edge.spool", "--discard", "all").status == 0
    assert (spool.set_aside(), spool.totals().puts) == ([], 2)


@pytest.mark.parametrize(
    ("arguments", "status", "wording"),
    [
        (["nowhere.spool"], 1, "does not exist"),
        (["readings.tsdb"], 1, "is an embedded store, not a spool"),
        (["edge.spool", "--to", "tstorage://h:1"], 2, "--to is for --drain"),
        (["edge.spool", "--discard", "x"], 2, "numbers of puts"),
        (["edge.spool", "--retarget", "a.tsdb"], 2, "not a server"),
        (["edge.spool", "--drain", "--to", "tstorage://h:1?spool=b"], 2, "leave spool= out"),
    ],
)
def test_spool_errors(run: Run, spool: SpoolFile, readings: Path, arguments: list[str], status: int, wording: str) -> None:
    done = run("spool", *arguments)
    assert done.status == status
    assert wording in done.err
