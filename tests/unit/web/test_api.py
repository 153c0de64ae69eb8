"""What the interface answers."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.json_schema import fault
from support.web import Client

from tsmodel import Float64, TSModel, connect, to_iso, to_ns
from tsmodel.web.source import Limits
from unit.web.conftest import MINUTE, START, Event, Reading, fill

ONE = "1/4711/7"


def got(client: Client, path: str, **parameters: Any) -> Any:
    """The answer to a request that succeeds."""
    answer = client.get(path, params={name.rstrip("_"): value for name, value in parameters.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: Client, path: str, status: int = 400, **parameters: Any) -> dict[str, str]:
    """What is wrong with a request."""
    answer = client.get(path, params={name.rstrip("_"): value for name, value in parameters.items()})
    assert answer.status_code == status, answer.text
    error: dict[str, str] = answer.json()["error"]
    assert set(error) == {"what", "where", "do"}
    assert all(error.values())
    return error


def test_about_tells_the_models(client: Client) -> None:
    about = got(client, "/api")
    assert about["target"].endswith("readings.tsdb")
    assert [model["name"] for model in about["models"]] == ["Reading", "Event"]
    volts, total, price = about["models"][0]["fields"]
    assert volts == {"name": "volts", "type": "Float64", "unit": "V", "doc": "line voltage", "is_drawn": True}
    assert (total["is_drawn"], price["is_drawn"]) == (True, True)


def test_series_are_searched_and_paged(client: Client) -> None:
    page = got(client, "/api/series", limit=2)
    assert [each["series"] for each in page["series"]] == [ONE, "1/4712/7"]
    assert (page["total"], page["is_whole"], page["note"]) == (3, True, None)
    assert page["series"][0] | {"records": 0} == {
        "series": ONE, "cid": 1, "mid": 4711, "moid": 7, "records": 0, "model": "Reading",
        "first": to_iso(START), "last": to_iso(START + 999 * MINUTE),
    }  # fmt: skip
    assert page["series"][0]["records"] == 1005
    assert [each["series"] for each in got(client, "/api/series", offset=2)["series"]] == ["2/-5/9"]
    assert [each["series"] for each in got(client, "/api/series", q="event")["series"]] == ["2/-5/9"]
    assert got(client, "/api/series", q="47 7", mid="4700..4712")["total"] == 1
    inside = got(client, "/api/series", from_=to_iso(START), to=to_iso(START + 3 * MINUTE))
    assert [each["records"] for each in inside["series"]] == [3, 3, 1]


def test_records_come_page_by_page_in_the_order_of_time(client: Client) -> None:
    for order in ("cap", "-cap"):
        found: list[Any] = []
        after = None
        while after is not None or not found:
            page = got(client, "/api/records", series=ONE, order=order, limit=300, after=after or "")
            assert len(page["records"]) <= 300
            found += page["records"]
            after = page["next"]
        caps = [to_ns(each["cap"]) for each in found]
        assert caps == sorted((START + n * MINUTE for n in range(1000)), reverse=order == "-cap")
    assert found[-1]["volts"] == 230.0


def test_records_of_all_versions_show_corrections(client: Client) -> None:
    chosen = {"series": ONE, "from_": to_iso(START + 9 * MINUTE), "to": to_iso(START + 12 * MINUTE)}
    newest = got(client, "/api/records", **chosen)["records"]
    assert [each["volts"] for each in newest] == [239.0, 200.0, 200.0]
    everything = got(client, "/api/records", versions="all", **chosen)["records"]
    assert [each["volts"] for each in everything] == [239.0, 230.0, 200.0, 231.0, 200.0]
    before = min(to_ns(each["acq"]) for each in everything if each["volts"] == 200.0) - 1
    known = got(client, "/api/records", as_of=to_iso(before), **chosen)["records"]
    assert [each["volts"] for each in known] == [239.0, 230.0, 231.0]


def test_nothing_loses_digits(client: Client) -> None:
    first, second = got(client, "/api/records", series=ONE, limit=2)["records"]
    assert (first["total"], second["total"]) == (2**53, str(2**53 + 1))
    assert (first["price"], second["price"]) == ("1.25", None)
    assert first["cap"] == "2026-11-01T00:00:00Z"
    assert first["acq"].endswith("Z")
    assert got(client, "/api/records", series=ONE, limit=1, times="ns")["records"][0]["cap"] == str(START)
    event = got(client, "/api/records", series="2/-5/9")["records"][0]
    assert (event["cap"], event["code"]) == ("2026-11-01T00:00:00.000012345Z", 1)
    (line,) = got(client, "/api/windows", series=ONE, field="total", every="500d")["lines"]
    assert (line["min"], line["max"]) == ([2**53], [str(2**53 + 999)])


def test_records_meet_conditions_and_have_some_columns(client: Client) -> None:
    page = got(client, "/api/records", where="volts > 300", columns="mid,volts")
    assert page["records"] == [{"mid": 4711, "volts": 500.0}]
    assert page["columns"] == ["mid", "volts"]


@pytest.mark.parametrize("order", ["cap", "-cap"])
def test_an_old_version_does_not_come_back_when_the_newest_fails_the_condition(client: Client, order: str) -> None:
    corrected = {"series": ONE, "from_": to_iso(START + 10 * MINUTE), "to": to_iso(START + 15 * MINUTE), "order": order}
    assert got(client, "/api/records", where="volts > 200", **corrected)["records"] == []
    assert len(got(client, "/api/records", where="volts == 200", **corrected)["records"]) == 5
    assert len(got(client, "/api/records", where="volts > 200", versions="all", **corrected)["records"]) == 5


@pytest.mark.parametrize("chosen", [{"to": to_iso(START)}, {"from_": to_iso(START + 2000 * MINUTE)}])
def test_a_range_in_which_a_series_has_nothing_is_empty(client: Client, chosen: dict[str, Any]) -> None:
    assert got(client, "/api/records", series=ONE, **chosen)["records"] == []
    assert got(client, "/api/windows", series=ONE, every="1h", shape="rows", **chosen) == []
    (line,) = got(client, "/api/windows", series=ONE, field="volts", every="1h", **chosen)["lines"]
    assert (line["start"], line["points"], line["count"], line["min"], line["mean"]) == ([], [], [], [], [])
    (line,) = got(client, "/api/statistics", series=ONE, field="volts", **chosen)["lines"]
    assert (line["points"], line["min"]) == (0, None)


def test_without_a_model_payloads_are_hex(path: Path, serve: Callable[..., Client]) -> None:
    client = serve(connect(path, read_only=True), models=())
    (record,) = got(client, "/api/records", series="2/-5/9")["records"]
    assert record["payload"] == "0100000000000000"
    (line,) = got(client, "/api/windows", series=ONE, every="100m", from_=to_iso(START), to=to_iso(START + 200 * MINUTE))[
        "lines"
    ]
    assert (line["field"], line["points"], line["records"], line["min"]) == (None, [100, 100], [105, 100], [None, None])
    (told,) = got(client, "/api/statistics", series=ONE)["lines"]
    assert (told["points"], told["records"], told["corrected"], told["min"]) == (1000, 1005, 5, None)


def test_windows_keep_spikes(client: Client) -> None:
    answer = got(client, "/api/windows", series=ONE, field="volts", windows=10)
    (line,) = answer["lines"]
    assert (line["series"], line["field"], line["unit"]) == (ONE, "volts", "V")
    assert sum(line["points"]) == 1000
    assert sum(line["records"]) == 1005
    assert (max(line["max"]), min(line["min"])) == (500.0, 200.0)
    # A mean is that of all points of its window, and not of windows.
    total = sum(mean * count for mean, count in zip(line["mean"], line["count"], strict=True))
    corrected = {**dict.fromkeys(range(10, 15), 200), 444: 500}
    assert total == pytest.approx(sum(corrected.get(n, 230 + n % 10) for n in range(1000)))


def test_windows_are_whole_whatever_the_range(client: Client) -> None:
    every = {"series": ONE, "field": "volts", "every": "10m"}
    (whole,) = got(client, "/api/windows", **every)["lines"]
    (part,) = got(client, "/api/windows", from_=to_iso(START + 15 * MINUTE), to=to_iso(START + 31 * MINUTE), **every)[
        "lines"
    ]
    assert part["start"] == ["2026-11-01T00:10:00Z", "2026-11-01T00:20:00Z", "2026-11-01T00:30:00Z"]
    assert part["mean"] == whole["mean"][1:4]
    assert part["mean"][0] == pytest.approx((5 * 200 + 235 + 236 + 237 + 238 + 239) / 10)


def test_windows_of_several_series_and_fields_as_rows(client: Client) -> None:
    rows = got(client, "/api/windows", series=[ONE, "1/4712/7"], every="500d", shape="rows", values="max")
    assert [(each["series"], each["field"], each["max"]) for each in rows] == [
        (ONE, "volts", 500.0), (ONE, "total", str(2**53 + 999)), (ONE, "price", 1.25),
        ("1/4712/7", "volts", 239.0), ("1/4712/7", "total", str(2**53 + 999)), ("1/4712/7", "price", 1.25),
    ]  # fmt: skip


def test_statistics(client: Client) -> None:
    (told,) = got(client, "/api/statistics", series="1/4712/7", field="volts")["lines"]
    assert (told["points"], told["records"], told["corrected"], told["values"]) == (1000, 1000, 0, 1000)
    assert (told["min"], told["max"], told["mean"], told["median"]) == (230.0, 239.0, 234.5, 234.5)
    assert told["std"] == pytest.approx((8.25 * 1000 / 999) ** 0.5)  # the sample one, as of resample()
    assert (told["typical_step"], told["longest_gap"]) == (str(MINUTE), str(MINUTE))
    (told,) = got(client, "/api/statistics", series=ONE, field="volts")["lines"]
    assert (told["corrected"], told["max_time"]) == (5, to_iso(START + 444 * MINUTE))


@pytest.mark.parametrize("form", ["csv", "jsonl", "arrow", "parquet"])
def test_files_hold_all_records(client: Client, form: str) -> None:
    answer = client.get(f"/api/records.{form}", params={"series": ONE, "columns": "cap,volts"})
    assert answer.status_code == 200
    assert f'filename="records-1_4711_7.{form}"' in answer.headers["content-disposition"]
    readers: dict[str, Callable[[bytes], list[float]]] = {
        "csv": lambda data: [float(row["volts"]) for row in csv.DictReader(io.StringIO(data.decode()))],
        "jsonl": lambda data: [json.loads(line)["volts"] for line in data.decode().splitlines()],
        "arrow": lambda data: pa.ipc.open_stream(data).read_all()["volts"].to_pylist(),
        "parquet": lambda data: pq.read_table(io.BytesIO(data))["volts"].to_pylist(),
    }
    wanted = [200.0 if 10 <= n < 15 else 500.0 if n == 444 else 230.0 + n % 10 for n in range(1000)]
    assert readers[form](answer.content) == wanted
    everything = client.get(f"/api/records.{form}", params={"series": ONE, "versions": "all"})
    assert len(readers[form](everything.content)) == 1005


def test_series_and_windows_are_files_too(client: Client) -> None:
    table = pa.ipc.open_stream(client.get("/api/series.arrow").content).read_all()
    assert table["series"].to_pylist() == [ONE, "1/4712/7", "2/-5/9"]
    assert client.get("/api/series.csv").text.splitlines()[1].startswith("1/4711/7,1,4711,7,1005,2026-11-01T00:00:00Z,")
    chosen = {"series": ONE, "field": "volts", "every": "500d", "values": "points,max"}
    table = pa.ipc.open_stream(client.get("/api/windows.arrow", params=chosen).content).read_all()
    assert table["max"].to_pylist() == [500.0]
    assert str(table["time"].type) == "timestamp[ns]"
    lines = client.get("/api/windows.csv", params=chosen).text.splitlines()
    assert lines[0] == "time,series,field,points,max"
    assert len(lines) == 2


def test_files_of_numbers_that_json_has_as_text(serve: Callable[..., Client]) -> None:
    """Meters beyond 2^53, NaN and infinity, and windows of fields of several types."""
    session = connect("memory:")
    key = {"cid": 1, "mid": 2**53 + 1}
    session.add_all(
        Reading(**key, cap=n * MINUTE, volts=each, total=2**53 + 1) for n, each in enumerate([math.nan, math.inf, 1.5])
    )
    session.add(Reading(cid=1, mid=1, cap=0, volts=1.0, total=-1))
    session.flush()
    client = serve(session)
    table = pa.ipc.open_stream(client.get("/api/series.arrow").content).read_all()
    assert table["mid"].to_pylist() == [1, 2**53 + 1]
    chosen = {"series": f"1/{2**53 + 1}/7", "every": "1m", "values": "last"}
    for name, expected in (("total", [2**53 + 1] * 3), ("volts", [None, math.inf, 1.5])):
        table = pa.ipc.open_stream(client.get("/api/windows.arrow", params={**chosen, "field": name}).content).read_all()
        assert table["last"].to_pylist() == expected
    table = pa.ipc.open_stream(client.get("/api/windows.arrow", params=chosen).content).read_all()
    assert {"9007199254740993", "Infinity", "1.5"} <= set(table["last"].to_pylist())  # no type of Arrow has them all


def test_the_description_is_valid_and_true(client: Client) -> None:
    document = got(client, "/api/openapi.json")
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]

    def within(schema: Any) -> Any:
        return json.loads(json.dumps(schema).replace("#/components/schemas/", "#/$defs/"))

    definitions = {name: within(schema) for name, schema in schemas.items()}

    def check(path: str, **parameters: Any) -> None:
        answer = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert fault(got(client, path, **parameters), within(answer), definitions) is None

    check("/api")
    check("/api/series")
    check("/api/records", series=ONE)
    check("/api/windows", series=ONE)
    check("/api/windows", series=ONE, shape="rows")
    check("/api/statistics", series=ONE)
    operations = [each["get"] for each in document["paths"].values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    for operation in operations:
        for parameter in operation["parameters"]:
            assert parameter["description"]
            kind = parameter["schema"]
            assert kind["type"] in ("string", "integer", "array")
            if "default" in kind:
                assert fault(kind["default"], kind, {}) is None
    text = json.dumps(document)
    assert all(each in schemas for each in {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]})


@pytest.mark.parametrize(
    ("asked", "parameters", "status", "where", "said"),
    [
        ("/api/nothing", {}, 404, "the path", "there is no /api/nothing"),
        ("/api/records", {"seris": ONE}, 400, "seris", "did you mean series?"),
        ("/api/records", {"series": "1/4711"}, 400, "series", "'1/4711' is not a series"),
        ("/api/records", {"series": "1/4711/99999999999"}, 400, "series", "is not a series"),
        ("/api/records", {"limit": "0"}, 400, "limit", "from 1 to 10,000"),
        ("/api/records", {"limit": ["1", "2"]}, 400, "limit", "given 2 times"),
        ("/api/records", {"from": "yesteryear"}, 400, "from", "yesteryear"),
        ("/api/records", {"from": "2026-11-02", "to": "2026-11-01"}, 400, "from, to", "is empty"),
        ("/api/records", {"after": "x"}, 400, "after", "is not a position"),
        ("/api/records", {"order": "mid"}, 400, "order", "'mid' is not cap or -cap"),
        ("/api/records", {"columns": "voltz"}, 400, "columns", "did you mean volts?"),
        ("/api/records", {"where": "volts >"}, 400, "where", "cannot be read"),
        ("/api/records", {"model": "Readin"}, 400, "model", "did you mean Reading?"),
        ("/api/windows", {}, 400, "series", "no series is named"),
        ("/api/windows", {"series": ONE, "field": "volt"}, 400, "field", "did you mean volts?"),
        ("/api/windows", {"series": ONE, "every": "0s"}, 400, "every", "'0s' is not above 0"),
        ("/api/windows", {"series": ONE, "every": "1ms"}, 413, "every", "the limit is 10,000"),
        ("/api/windows", {"series": ONE, "values": "median"}, 400, "values", "no 'median'"),
        ("/api/series", {"mid": "a"}, 400, "mid", "'a' is not an integer"),
        ("/api/series", {"cid": "5..1"}, 400, "cid", "write 4711, 4711,4712 or 1..10"),
        ("/api/records", {"limit": "x"}, 400, "limit", "give a whole number from 1 to 10000"),
        ("/api/records", {"times": "utc"}, 400, "times", "write times=iso or times=ns"),
        ("/api/records", {"from": "2026-3"}, 400, "from", "write 2026-03"),
        ("/api/records", {"after": "1,2,3,4,99999999999999999999"}, 400, "after", "is not a position"),
        ("/api/records", {"where": "volts"}, 400, "where", "volts is not a condition"),
        ("/api/windows", {"series": ONE, "every": "-5m"}, 400, "every", "write 15m, 1h30m, 500ms"),
    ],
)
def test_what_is_wrong_is_said(
    client: Client, asked: str, parameters: dict[str, Any], status: int, where: str, said: str
) -> None:
    error = refused(client, asked, status, **parameters)
    assert error["where"] == where
    assert said in f"{error['what']}; {error['do']}"


def test_answers_are_bounded(path: Path, serve: Callable[..., Client]) -> None:
    client = serve(connect(path, read_only=True), limits=Limits(records=100, lines=2))
    for what in ("/api/statistics", "/api/windows", "/api/records.csv"):
        parameters = {} if what.endswith("csv") else {"field": "volts"}
        error = refused(client, what, 413, series=ONE, **parameters)
        assert error["where"] == "from, to"
        assert "more than 100 records" in error["what"]
        assert "narrow" in error["do"]
    assert refused(client, "/api/windows", series=ONE)["what"] == "1 series and 3 fields make 3 lines; the limit is 2"
    assert len(got(client, "/api/records", series=ONE, limit=5)["records"]) == 5


def test_work_that_takes_too_long_ends(path: Path, serve: Callable[..., Client]) -> None:
    client = serve(connect(path, read_only=True), limits=Limits(seconds=0.0))
    assert "narrow the range" in refused(client, "/api/records", 503, series=ONE)["do"]


def test_payloads_that_do_not_fit_are_counted_or_an_error(serve: Callable[..., Client]) -> None:
    class Other(TSModel, moid=7):
        volts: Float64

    session = connect("memory:")
    fill(session)
    session.add(Other(cid=1, mid=4711, cap=START + 30, volts=1.0))
    session.flush()
    client = serve(session)
    page = got(client, "/api/records", series=ONE, model="Reading", limit=5)
    assert (page["skipped"], len(page["records"])) == (1, 5)
    assert "on_error=skip" in refused(client, "/api/records", 422, series=ONE, on_error="raise")["do"]
    assert got(client, "/api/windows", series=ONE, field="volts", windows=3)["skipped"] == 1


def test_the_list_keeps_up_with_what_is_put_and_removed(
    serve: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = connect("memory:")
    fill(session)
    client = serve(session)

    def counts() -> dict[str, int]:
        return {each["series"]: each["records"] for each in got(client, "/api/series")["series"]}

    monkeypatch.setattr("tsmodel.web.source.LOOK", 0.0)
    assert counts() == {ONE: 1005, "1/4712/7": 1000, "2/-5/9": 1}
    session.add(Event(cid=2, mid=-5, cap=START + 5 * MINUTE, code=2))
    session.add(Event(cid=3, mid=1, cap=START, code=3))
    session.flush()
    assert counts() == {ONE: 1005, "1/4712/7": 1000, "2/-5/9": 2, "3/1/9": 1}
    session.add(Event(cid=3, mid=1, cap=START, acq=1000, code=4), keep_acq=True)
    session.flush()
    assert counts()["3/1/9"] == 2
    session.add(Event(cid=3, mid=1, cap=START + 1, code=4))
    session.flush()
    assert counts()["3/1/9"] == 3
    session.query(Reading).mid(4712).delete()
    assert counts() == {ONE: 1005, "2/-5/9": 2, "3/1/9": 3}


def test_an_empty_target_is_shown(serve: Callable[..., Client]) -> None:
    client = serve(connect("memory:"))
    assert got(client, "/api/series") == {"series": [], "total": 0, "offset": 0, "is_whole": True, "note": None}
    assert got(client, "/api/records")["records"] == []
    for what in ("/api/windows", "/api/statistics"):
        error = refused(client, what, 404, series=ONE, from_="2026-11-01", to="2026-11-02")
        assert (error["what"], error["where"]) == (f"there is no series {ONE}", "series")


def test_a_series_may_be_new(serve: Callable[..., Client]) -> None:
    session = connect("memory:")
    fill(session)
    client = serve(session)
    assert refused(client, "/api/windows", 404, series=[ONE, "9/9/9"])["what"] == "there is no series 9/9/9"
    session.add(Event(cid=9, mid=9, cap=START, code=1))
    session.flush()
    assert got(client, "/api/windows", series="9/9/9", field="code", every="1d")["lines"][0]["points"] == [1]
