"""`tsmodel ui` as a process, and what happens to abandoned requests."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tsmodel import Float64, Session, TSModel, connect, to_ns
from tsmodel.backend import Scan
from tsmodel.server import serve_in_thread
from tsmodel.web.application import serving
from tsmodel.web.source import Source

START = to_ns("2026-11-01T00:00:00Z")
MODEL = "from tsmodel import Float64, TSModel\n\nclass Reading(TSModel):\n    volts: Float64\n"


class Reading(TSModel):
    volts: Float64


def eventually(done: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits for a condition."""
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "the condition never became true"
        time.sleep(0.01)


class Endless:
    """A backend whose scans never end and which counts the open ones."""

    def __init__(self, session: Session) -> None:
        self._backend = session.backend
        self.scan_budget = session.backend.scan_budget
        self.open = 0

    def scan(self, box: Any) -> Scan:
        def chunks() -> Any:
            self.open += 1
            try:
                while True:
                    with self._backend.scan(box) as scan:
                        yield from scan
                    time.sleep(0.001)
            finally:
                self.open -= 1

        return Scan(chunks())

    def last_acq(self, box: Any) -> int:
        return self._backend.last_acq(box)

    def close(self) -> None:
        self._backend.close()


@pytest.fixture
def stored() -> Iterator[Session]:
    with connect("memory:") as session:
        session.add_all(Reading(cid=1, mid=1, moid=1, cap=START + n, volts=n) for n in range(100))
        session.flush()
        yield session


@pytest.mark.parametrize(
    "asked",
    [
        f"/api/records?series=1/1/1&from={START}&to={START + 1000}",
        f"/api/windows?series=1/1/1&from={START}&to={START + 1000}",
        f"/api/statistics?series=1/1/1&from={START}&to={START + 1000}",
        f"/api/series?from={START}&to={START + 1000}",
        f"/api/records.csv?series=1/1/1&from={START}&to={START + 1000}&versions=all",
    ],
)
def test_closing_the_tab_ends_its_requests(stored: Session, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Endless(stored)
    source = Source(Session(backend, name="endless"), [Reading])  # type: ignore[arg-type]
    # The source's own background reads are not endless.
    monkeypatch.setattr(source, "catalogue", Source(stored, [Reading]).catalogue)
    with serving(source) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"))
        connection.request("GET", asked)
        eventually(lambda: backend.open == 1)
        connection.sock.close()
        connection.close()
        eventually(lambda: backend.open == 0)


def events(url: str) -> Iterator[tuple[str, Any, str]]:
    """Yields the name, data and id of each event of a stream."""
    with httpx.stream("GET", url, timeout=30) as answer:
        event: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif "event" in event:
                yield event["event"], json.loads(event["data"]), event["id"]
                event = {}


def test_new_records_are_streamed(stored: Session) -> None:
    with serving(Source(stored, [Reading]), poll=0.02) as url:
        follower = events(f"{url}api/follow?series=1/1/1")
        assert next(follower)[0] == "begin"
        stored.add(Reading(cid=1, mid=2, moid=1, cap=START, volts=5.0))  # of another series
        stored.add(Reading(cid=1, mid=1, moid=1, cap=START + 10**6, volts=7.0))
        stored.flush()
        name, data, position = next(follower)
        assert (name, data["count"], data["start"]) == ("new", 1, "2026-11-01T00:00:00.001Z")
        assert data["records"][0]["volts"] == 7.0
        # A client that reconnects with its position continues there and misses nothing.
        stored.add(Reading(cid=1, mid=1, moid=1, cap=START + 10**7, volts=8.0))
        stored.flush()
        with httpx.stream("GET", f"{url}api/follow?series=1/1/1", headers={"Last-Event-ID": position}) as answer:
            lines = answer.iter_lines()
            data = next(line for line in lines if line.startswith("data: {") and "records" in line)
        assert [each["volts"] for each in json.loads(data.removeprefix("data: "))["records"]] == [8.0]


def test_number_of_followers_is_limited(stored: Session) -> None:
    source = Source(stored, [Reading])
    object.__setattr__(source.limits, "followers", 1)
    with serving(source, poll=0.02) as url:
        follower = events(f"{url}api/follow")
        next(follower)
        refused = httpx.get(f"{url}api/follow")
        assert refused.status_code == 503
        assert "close some pages" in refused.json()["error"]["do"]
        follower.close()
        eventually(lambda: next(events(f"{url}api/follow"), None) is not None)


def test_server_list_says_that_it_is_incomplete() -> None:
    fresh = to_ns(time.time_ns() // 10**9 * 10**9 - 978_307_200 * 10**9)
    with ExitStack() as shown, ExitStack() as served:
        behind = shown.enter_context(connect("memory:"))
        host, port = served.enter_context(serve_in_thread(behind.backend))
        behind.add_all(Reading(cid=1, mid=1, moid=1, cap=fresh + n, volts=n) for n in range(50))
        behind.add(Reading(cid=1, mid=2, moid=1, cap=START - 400 * 86_400 * 10**9, volts=1.0))
        behind.flush()
        session = shown.enter_context(connect(f"tstorage://{host}:{port}?timeout=10"))
        url = shown.enter_context(serving(Source(session, [Reading])))
        listed = httpx.get(f"{url}api/series").json()
        assert [each["series"] for each in listed["series"]] == ["1/1/1"]
        assert listed["is_whole"] is False
        assert "give from= and to=" in listed["note"]
        old = httpx.get(f"{url}api/series", params={"to": "2026-01-01"}).json()
        assert [each["series"] for each in old["series"]] == ["1/2/1"]
        windows = httpx.get(f"{url}api/windows", params={"series": "1/1/1", "windows": 5}).json()
        assert sum(windows["lines"][0]["points"]) == 50
        assert len(httpx.get(f"{url}api/records", params={"series": "1/1/1"}).json()["records"]) == 50
        served.close()
        answer = httpx.get(f"{url}api/records")
        assert answer.status_code == 502
        assert "tsmodel doctor" in answer.json()["error"]["do"]


class Command:
    """`tsmodel ui` in its own process."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tsmodel", "ui", *arguments],
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"https?://\S+", line)
        assert found is not None, line + (self.process.stderr.read() if self.process.stderr else "")
        return found[0]

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "meters.py").write_text(MODEL)
    with connect(tmp_path / "readings.tsdb") as session:
        session.add(Reading(cid=1, mid=1, moid=1, cap=START, volts=230.0))
    return tmp_path


def test_command_serves_until_interrupted(directory: Path) -> None:
    command = Command(directory, "readings.tsdb", "--model", "meters.py", "--port", "0")
    url = command.url()
    assert url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{url}api").json()["models"][0]["name"] == "Reading"
    assert "<title>" in httpx.get(url).text
    ended = threading.Event()

    def follow() -> None:
        for _ in events(f"{url}api/follow"):
            pass
        ended.set()

    threading.Thread(target=follow, daemon=True).start()
    time.sleep(0.2)
    began = time.monotonic()
    assert command.end() == (0, "")
    assert time.monotonic() - began < 15
    assert ended.wait(10)


def test_public_address_requires_a_token(directory: Path) -> None:
    command = Command(directory, "readings.tsdb", "--host", "0.0.0.0", "--port", "0")
    address, _, token = command.url().partition("#token=")
    assert len(token) >= 32
    assert httpx.get(f"{address}api").status_code == 401
    assert httpx.get(f"{address}api", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    status, errors = command.end()
    assert status == 0
    assert "not encrypted" in errors


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["missing.tsdb"], 1, "missing.tsdb does not exist; there is readings.tsdb"),
        (["ftp://somewhere"], 2, "ftp"),
        (["readings.tsdb", "--model", "nothing.py"], 2, "there is no file nothing.py"),
        (["readings.tsdb", "--port", "99999"], 2, "--port"),
        (["readings.tsdb", "--tls-key", "key.pem"], 2, "--tls-key needs --tls-cert"),
        (["readings.tsdb", "--tls-cert", "none.pem"], 1, "TLS cannot use none.pem"),
        (["readings.tsdb", "--token", "short"], 1, "at least 16 characters"),
        (["readings.tsdb", "--host", "no.such.host.invalid"], 1, "cannot listen on no.such.host.invalid"),
    ],
)
def test_invalid_arguments(
    directory: Path, arguments: list[str], status: int, said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from tsmodel.cli import main

    monkeypatch.chdir(directory)
    assert main(["ui", *arguments]) == status
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1


def test_port_in_use(directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from tsmodel.cli import main

    monkeypatch.chdir(directory)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["ui", "readings.tsdb", "--port", str(port)]) == 1
    assert (
        f"port {port} is in use on 127.0.0.1; choose another with --port, or 0 for any free port" in capsys.readouterr().err
    )


def test_missing_library(directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from tsmodel.cli import main, ui

    monkeypatch.chdir(directory)
    monkeypatch.setattr(ui, "_NEEDED", ("no_such_library",))
    assert main(["ui", "readings.tsdb"]) == 1
    assert "tsmodel ui needs no_such_library: pip install 'tstorage-model[web]'" in capsys.readouterr().err
