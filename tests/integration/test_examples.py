"""The examples run as their first lines say."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import runpy
import shlex
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tsmodel import connect
from tsmodel.cli import main
from tsmodel.errors import TSModelError

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(EXAMPLES / "quickstart.py", "kept.tsdb", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    stored = re.search(r"stored (\d+) records", done.stdout)
    found = re.search(r"found (.*) in ", done.stdout)
    assert stored is not None
    assert found is not None
    assert sum(map(int, re.findall(r"(\d+) \w", found[1]))) == int(stored[1]) >= 120
    assert re.search(r"1\. cid 1, mid 0, moid 1, cap \[20", done.stdout)
    assert 15 <= len(re.findall(r"^  20\d\d-.*Z +\d", done.stdout, re.MULTILINE)) <= 25
    assert [path.name for path in tmp_path.iterdir()] == ["kept.tsdb"]
    suggested = [shlex.split(line) for line in done.stdout.partition("Try next:")[2].splitlines() if "tsmodel " in line]
    assert len(suggested) == 3
    monkeypatch.chdir(tmp_path)
    for _, *words in suggested:
        assert main(words) == 0
    assert (tmp_path / "cores.png").stat().st_size > 10_000


def test_importing_the_sample(tmp_path: Path) -> None:
    done = run(EXAMPLES / "import_csv.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = (EXAMPLES / "readings.csv").read_text().split()
    assert f"stored {len(lines)} records" in done.stdout
    values = [struct.unpack("<d", bytes.fromhex(line.split(",")[4]))[0] for line in lines if line.startswith("2,90,7,")]
    assert f"  2      90     7  {len(values):5}  {sum(values) / len(values):10.4f}" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_importing_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("".join(f"1,2,3,{cap},{struct.pack('<d', cap).hex()}\n" for cap in range(10)))
    for _ in range(2):
        done = run(EXAMPLES / "import_csv.py", "mine.csv", "kept.tsdb", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "  1       2     3     10      4.5000" in done.stdout


@pytest.mark.filterwarnings("ignore::tsmodel.errors.UnflushedWarning")
@pytest.mark.parametrize(
    ("line", "wording"),
    [
        ("1,2,3,4", "not enough values"),
        ("1,2,3,4,00", "has 1 bytes; Measurement takes 8"),
        ("1,2,x,4,0000000000000000", "invalid literal for int"),
        ("1,2,3,4,zz", "non-hexadecimal"),
        ("-1,2,3,4,0000000000000000", "record 1: Measurement.cid is -1"),
    ],
)
def test_invalid_line_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, wording: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_text(f"1,2,3,4,0000000000000000\n{line}\n")
    monkeypatch.setattr(sys, "argv", ["import_csv.py", "mine.csv"])
    with pytest.raises((SystemExit, TSModelError), match=re.escape(wording)):
        runpy.run_path(str(EXAMPLES / "import_csv.py"), run_name="__main__")
    assert "stored" not in capsys.readouterr().out


def test_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("fastapi")
    monkeypatch.setenv("READINGS", str(tmp_path / "readings.tsdb"))
    module = runpy.run_path(str(EXAMPLES / "service.py"))
    rows = [{"mid": 4711, "cap": f"2026-03-01T12:0{n}:00Z", "counter": n, "volts": 231.7} for n in range(3)]

    async def talk() -> list[Any]:
        app = module["app"]
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://here") as client,
        ):
            range_ = {"since": "2026-03-01T12:00:00Z", "until": "2026-03-01T12:02:00Z"}
            return [
                await client.post("/readings", json=rows),
                await client.post("/readings", json=rows),
                await client.get("/readings/4711", params=range_),
                await client.post("/readings", json=[{**rows[0], "volts": "high"}]),
                await client.get("/readings/4711", params={**range_, "since": "2026-03-01T12:00:00"}),
            ]

    stored, again, found, wrong, naive = asyncio.run(talk())
    assert (stored.status_code, again.status_code) == (204, 204)
    assert [(row["counter"], row["volts"], row["cap"]) for row in found.json()] == [
        (0, 231.7, "2026-03-01T12:00:00Z"),
        (1, 231.7, "2026-03-01T12:01:00Z"),
    ]
    assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["body", 0, "volts"])
    assert naive.status_code == 422


REFUSED: dict[str, tuple[dict[str, Any], list[str] | str]] = {
    "no limit below one": ({"limit": -1}, ["query", "limit"]),
    "no limit above 100,000": ({"limit": 100_001}, ["query", "limit"]),
    "no meter beyond int64": ({"mid": 99999999999999999999}, ["path", "mid"]),
    "no meter that a key cannot hold": ({"mid": 2**63 - 1}, ["path", "mid"]),
    "no time after 2293": ({"until": "2400-01-01T00:00:00Z"}, "2293"),
    "no time before 1708": ({"since": "1500-01-01T00:00:00Z"}, "1708"),
    "no time beyond a datetime": ({"until": "99999999999999999999"}, ["query", "until"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_service_answers_422_to_invalid_lookups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("fastapi")
    monkeypatch.setenv("READINGS", str(tmp_path / "readings.tsdb"))
    app = runpy.run_path(str(EXAMPLES / "service.py"))["app"]
    asked, where = REFUSED[case]
    query: dict[str, Any] = {"mid": 4711, "since": "2026-03-01T12:00:00Z", "until": "2026-03-01T12:02:00Z", **asked}
    path = f"/readings/{query.pop('mid')}"

    async def talk() -> Any:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")
        async with app.router.lifespan_context(app), client:
            return await client.get(path, params=query)

    answer = asyncio.run(talk())
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    if isinstance(where, str):
        assert where in detail
    else:
        assert [fault["loc"] for fault in detail] == [where]


@pytest.mark.parametrize(
    "wrong", [{"mid": 99999999999999999999}, {"cap": "2400-01-01T00:00:00Z"}, {"volts": "NaN?"}, {"counter": -1}]
)
def test_service_answers_422_to_invalid_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("fastapi")
    monkeypatch.setenv("READINGS", str(tmp_path / "readings.tsdb"))
    app = runpy.run_path(str(EXAMPLES / "service.py"))["app"]
    row = {"mid": 4711, "cap": "2026-03-01T12:00:00Z", "counter": 1, "volts": 231.7, **wrong}

    async def talk() -> Any:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")
        async with app.router.lifespan_context(app), client:
            return await client.post("/readings", json=[row])

    answer = asyncio.run(talk())
    assert answer.status_code == 422
    assert [fault["loc"] for fault in answer.json()["detail"]] == [["body", 0, *wrong]]


def test_host_metrics(tmp_path: Path) -> None:
    done = run(EXAMPLES / "host_metrics.py", "--every", "100ms", "--samples", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    stored = re.search(r"stored (\d+) records in host.tsdb", done.stdout)
    assert stored is not None
    with connect(tmp_path / "host.tsdb", read_only=True) as session:
        module = runpy.run_path(str(EXAMPLES / "host_metrics.py"))
        counts = {name: session.query(module[name]).count() for name in ("Cpu", "Memory", "Load", "Disk")}
        assert sum(counts.values()) == int(stored[1])
        assert counts["Disk"] == 3
        if Path("/proc/stat").exists():
            assert counts["Memory"] == counts["Load"] == 3
            assert all(0 <= cpu.busy <= 1 for cpu in session.query(module["Cpu"]))


@pytest.mark.usefixtures("interruptible")
def test_collector_stopped_by_ctrl_c_has_stored_its_samples(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "host_metrics.py"), "--every", "20ms"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("collecting")
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert re.fullmatch(r"stored \d+ records in host.tsdb\n", rest)


def test_backfill_with_corrections(tmp_path: Path) -> None:
    for first in (True, False):
        done = run(EXAMPLES / "backfill.py", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        stored = re.findall(r"stored (\d+), left out (\d+)", done.stdout)
        assert stored == ([("851", "0"), ("2", "1")] if first else [("0", "851"), ("0", "3")])
        assert "cannot be read: Meters: line 492, column 'volts': '23O.9'" in done.stdout
        assert "4712  2026-03-28T13:15:00Z  251.7 -> 231.7 V" in done.stdout
        assert "now: 284 values, at most 233.7 V" in done.stdout
        assert ("before the second file: 283 values, at most 251.7 V" in done.stdout) == first


def test_follow_and_alert(tmp_path: Path) -> None:
    command = (EXAMPLES / "follow_and_alert.py", "--once", "--below", "227")
    done = run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    alerts = [line for line in done.stdout.splitlines() if "  meter " in line]
    assert "2026-03-28T13:15:00Z  meter 4712: 251.7 V, above 240 V" in alerts
    assert sum("below 227 V" in line for line in alerts) == len(alerts) - 1 == low_readings(227)
    assert run(*command, cwd=tmp_path).stdout == ""  # each alert appears once

    high = {"mid": 4711, "cap": "2026-03-30T12:00:00Z", "volts": 255.5, "watts": 10}
    (tmp_path / "high.jsonl").write_text(json.dumps(high))
    put = ("-m", "tsmodel", "put", "high.jsonl", "--to", "alerts.tsdb", "--model", EXAMPLES / "backfill.py")
    assert run(*put, cwd=tmp_path).returncode == 0
    assert run(*command, cwd=tmp_path).stdout == "2026-03-30T12:00:00Z  meter 4711: 255.5 V, above 240 V\n"


def low_readings(below: float) -> int:
    lines = (EXAMPLES / "meters.csv").read_text().splitlines()[1:]
    return sum(volts < below for volts in (float(line.split(",")[2].replace("O", "0")) for line in lines))


def test_analysis_in_polars(tmp_path: Path) -> None:
    pytest.importorskip("polars")
    done = run(EXAMPLES / "analysis.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split(",") for line in (EXAMPLES / "meters.csv").read_text().splitlines()[1:] if "O" not in line]
    for day, count in (("2026-03-27", 288), ("2026-03-28", 287), ("2026-03-29", 276)):
        watts = [int(line[3]) for line in lines if line[1].startswith(day)]
        assert len(watts) == count
        assert re.search(rf"{day} ┆ {count} +┆ {sum(watts) / 4000:.1f} ", done.stdout)
    assert "1. cid 1, mid 4712, moid 1" in done.stdout


def test_writer_in_c(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    if sys.byteorder != "little":
        pytest.skip("the writer sends its memory as it is")
    done = run(EXAMPLES / "c_writer" / "read.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "read 20 records over" in done.stdout
    assert re.search(r"stored 20 records, acq \d+ to \d+", done.stdout)


def test_example_tests_pass(tmp_path: Path) -> None:
    options = ("-p", "no:cacheprovider", "-p", "tsmodel.testing.plugin", "-q")
    done = run("-m", "pytest", *options, EXAMPLES / "testing", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def test_notebook_reproduces_its_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLBACKEND", "agg")
    cells = json.loads((EXAMPLES / "a_day_of_ten_meters.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    compared = 0
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        *body, last = ast.parse("".join(cell["source"])).body
        exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)  # type: ignore[attr-defined]
        shown = [output["data"]["text/html"] for output in cell["outputs"] if "text/html" in output.get("data", {})]
        if shown and ">acq" not in "".join(shown[0]):  # the time of the run
            assert value._repr_html_() == "".join(shown[0])
            compared += 1
    assert compared >= 4
