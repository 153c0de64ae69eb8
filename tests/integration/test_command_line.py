"""The command as a process: closed output and interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tsmodel import connect
from tsmodel.cli.models import Record

COMMAND = (sys.executable, "-m", "tsmodel")


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.tsdb"
    with connect(path) as session:
        session.add_all(Record(cid=1, mid=1, moid=1, cap=n, payload=b"x" * 100) for n in range(5000))
    return path


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_closed_pipe_and_interrupt_end_the_command_quietly(records: Path) -> None:
    reading = subprocess.Popen([*COMMAND, "get", str(records)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert reading.stdout is not None
    assert reading.stdout.readline().split() == ["cid", "mid", "moid", "cap", "acq", "payload"]
    reading.stdout.close()
    assert reading.stderr is not None
    assert (reading.stderr.read(), reading.wait(30)) == ("", 141)
    reading.stderr.close()

    checkpoint = str(records.with_suffix(".json"))
    arguments = [*COMMAND, "follow", str(records), "--checkpoint", checkpoint, "--format", "jsonl"]
    following = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert following.stdout is not None
    for _ in range(5000):
        following.stdout.readline()
    following.send_signal(signal.SIGINT)
    out, err = following.communicate(timeout=30)
    assert (out, err, following.returncode) == ("", "", 130)
    done = subprocess.run([*arguments, "--no-wait"], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("", "")
