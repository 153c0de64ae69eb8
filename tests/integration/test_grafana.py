"""The Grafana example: the API answers all of its requests with the data its panels use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.web import Client

from tsmodel import Float64, TSModel, connect, to_iso, to_ns
from tsmodel.timestamps import now_ns
from tsmodel.web.application import application
from tsmodel.web.source import Source

EXAMPLE = Path(__file__).parents[2] / "examples" / "grafana"
MINUTE = 60 * 10**9
TOKEN = "correct-horse-battery-staple"


class Reading(TSModel):
    volts: Float64


def queries(data: Any) -> Iterator[dict[str, Any]]:
    """Returns all Infinity queries in a file."""
    if isinstance(data, dict):
        if "url_options" in data:
            yield data
        for each in data.values():
            yield from queries(each)
    elif isinstance(data, list):
        for each in data:
            yield from queries(each)


def files() -> list[Path]:
    return sorted([*EXAMPLE.rglob("*.json"), *EXAMPLE.rglob("*.yaml")])


def read(path: Path) -> Any:
    if path.suffix == ".json":
        return json.loads(path.read_text())
    return pytest.importorskip("yaml").safe_load(path.read_text())


ASKED = [pytest.param(query, id=f"{path.stem}-{at}") for path in files() for at, query in enumerate(queries(read(path)))]


def test_example_has_files_and_queries() -> None:
    assert {path.parent.name for path in files()} == {"dashboards", "datasources", "alerting"}
    assert len(ASKED) == 5


@pytest.mark.parametrize("query", ASKED)
def test_every_query_is_answered(query: dict[str, Any]) -> None:
    now = now_ns()
    values = {
        "series": "1/4711/7",
        "field": "volts",
        "__from:date:iso": to_iso(now - 600 * MINUTE),
        "__to:date:iso": to_iso(now),
    }

    def filled(text: str) -> str:
        return re.sub(r"\$\{([^}]+)\}", lambda found: values[found[1]], text)

    assert (query["type"], query["parser"], query["source"]) == ("json", "backend", "url")
    with connect("memory:") as session:
        session.add_all(Reading(cid=1, mid=4711, moid=7, cap=now - n * MINUTE, volts=230 + n % 3) for n in range(1, 300))
        session.flush()
        client = Client(application(Source(session, [Reading]), token=TOKEN))
        answer = client.get(
            query["url"],
            params=[(each["key"], filled(each["value"])) for each in query["url_options"]["params"]],
            headers={"authorization": f"Bearer {TOKEN}"},
        )
    assert answer.status_code == 200, answer.text
    rows = answer.json()
    rows = rows[query["root_selector"]] if query["root_selector"] else rows
    assert rows
    for row in rows:
        for column in query["columns"]:
            value = row[filled(column["selector"])]
            kinds: dict[str, Any] = {"number": (int, float), "string": str, "timestamp": str}
            assert isinstance(value, kinds[column["type"]])
            if column["type"] == "timestamp":
                assert now - 700 * MINUTE < to_ns(value) < now


def test_dashboard_and_alert_use_the_provisioned_data_source() -> None:
    (source,) = read(EXAMPLE / "provisioning/datasources/tsmodel.yaml")["datasources"]
    assert source["type"] == "yesoreyeram-infinity-datasource"
    used = set(re.findall(r'"uid": "(\w+)"', (EXAMPLE / "dashboards/tsmodel.json").read_text()))
    assert used == {source["uid"]}
    rules = read(EXAMPLE / "provisioning/alerting/tsmodel.yaml")["groups"][0]["rules"]
    named = {each["datasourceUid"] for rule in rules for each in rule["data"]}
    assert named == {source["uid"], "__expr__"}
    refs = {each["refId"] for rule in rules for each in rule["data"]}
    assert {rule["condition"] for rule in rules} <= refs
