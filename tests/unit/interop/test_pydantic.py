"""Models as pydantic types, FastAPI bodies and responses, and dataclasses."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pprint
from enum import IntEnum
from typing import Any

import pandas as pd
import polars as pl
import pytest

from tsmodel import Array, Cap, Enumerated, Float32, Int16, Mid, Nested, Nullable, Scaled, TSModel, TSStruct, field

pydantic = pytest.importorskip("pydantic")


class State(IntEnum):
    OFF = 0
    ON = 1


class Phase(TSStruct):
    volts: Float32 = field(unit="V")


class Reading(TSModel, cid=1, moid=7):
    meter: Mid
    at: Cap
    state: Enumerated[State] = field(doc="as reported by the switch")
    total: Scaled = field(digits=3, ge=0)
    l1: Nested[Phase]
    samples: Array[Int16] = field(item=Int16, length=2)
    temp: Nullable[float] = field(item=Float32, default=None)


class Order(pydantic.BaseModel):
    name: str
    reading: Reading
    others: dict[str, Reading] = pydantic.Field(default_factory=dict)
    maybe: Reading | None = None


PLAIN: dict[str, Any] = {
    "meter": 4711,
    "at": "2026-03-01T12:00:00+01:00",
    "state": "ON",
    "total": "18250.125",
    "l1": {"volts": 231.7},
    "samples": [1, 2],
}
WRITTEN = {"cid": 1, **PLAIN, "at": "2026-03-01T11:00:00Z", "moid": 7, "acq": None, "temp": None}


def reading() -> Reading:
    return Reading.from_dict(PLAIN)


def test_validation_and_serialization_match_json() -> None:
    adapter = pydantic.TypeAdapter(list[Reading])
    assert adapter.validate_python([PLAIN]) == [reading()]
    assert adapter.validate_json(json.dumps([PLAIN])) == [reading()]
    assert json.loads(adapter.dump_json([reading()])) == [WRITTEN]
    assert adapter.dump_python([reading()]) == [dataclasses.asdict(reading())]
    assert adapter.dump_python([reading()], mode="json") == [WRITTEN]


def test_existing_object_is_not_copied() -> None:
    one = reading()
    assert Order(name="x", reading=one).reading is one


def test_pydantic_model_round_trips_through_json() -> None:
    order = Order(name="x", reading=reading(), others={"a": reading()}, maybe=reading())
    assert Order.model_validate_json(order.model_dump_json()) == order


def test_faults_have_locations() -> None:
    wrong = {**PLAIN, "meter": "x", "l1": {"volts": "{high}"}, "samples": [1, "two"], "unknown": 1}
    del wrong["state"]
    with pytest.raises(pydantic.ValidationError) as caught:
        Order.model_validate({"name": "x", "reading": wrong})
    errors = {each["loc"]: each["msg"] for each in caught.value.errors()}
    assert set(errors) == {
        ("reading", "unknown"),
        ("reading", "meter"),
        ("reading", "l1", "volts"),
        ("reading", "samples", 1),
        ("reading", "state"),
    }
    assert errors["reading", "l1", "volts"] == "'{high}' (str) is not a number that a Float32 holds"
    assert errors["reading", "state"] == "is missing, and has no default"


def test_non_mapping_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="is not an object with the fields of Reading"):
        pydantic.TypeAdapter(Reading).validate_python(5)


def test_json_schema() -> None:
    schema = Order.model_json_schema()
    described = schema["$defs"]["Reading"]
    assert schema["properties"]["reading"] == {"$ref": "#/$defs/Reading"}
    assert described["properties"]["at"] == {"type": "string", "format": "date-time"}
    assert described["properties"]["state"] == {"enum": ["OFF", "ON"], "description": "as reported by the switch"}
    assert described["properties"]["l1"]["properties"]["volts"]["x-unit"] == "V"
    assert described["required"] == ["meter", "at", "state", "total", "l1", "samples"]
    written = Order.model_json_schema(mode="serialization")["$defs"]["Reading"]
    assert written["required"] == list(written["properties"]) == list(reading().to_dict())


def test_fastapi() -> None:
    fastapi, httpx = pytest.importorskip("fastapi"), pytest.importorskip("httpx")
    app = fastapi.FastAPI()

    def one(body: Reading) -> list[Reading]:
        return [body]

    def many(body: list[Reading]) -> Order:
        return Order(name="many", reading=body[-1])

    app.post("/one")(one)
    app.post("/many")(many)

    async def answers() -> list[Any]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return [
                await client.post("/one", json=PLAIN),
                await client.post("/many", json=[PLAIN, PLAIN]),
                await client.post("/one", json={**PLAIN, "state": "BROKEN"}),
                await client.get("/openapi.json"),
            ]

    good, together, bad, described = asyncio.run(answers())
    assert (good.status_code, good.json()) == (200, [WRITTEN])
    assert (together.status_code, together.json()["reading"]) == (200, WRITTEN)
    assert bad.status_code == 422
    assert [each["loc"] for each in bad.json()["detail"]] == [["body", "state"]]
    body = described.json()["paths"]["/one"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "Reading" in body["$ref"]


def test_objects_are_dataclasses() -> None:
    one = reading()
    assert [each.name for each in dataclasses.fields(one)] == list(one.to_dict())
    assert dataclasses.replace(one, meter=5).meter == 5
    assert dataclasses.asdict(one)["l1"] == {"volts": one.l1.volts}
    assert dataclasses.is_dataclass(Reading)
    assert pprint.pformat([one]) == f"[{one!r}]"


def test_data_frames_from_lists_of_objects() -> None:
    class Narrow(TSModel):
        number: Int16

    rows = [Narrow(cid=1, mid=at, moid=2, cap=at, number=at) for at in range(3)]
    for frame in (pd.DataFrame(rows), pl.DataFrame(rows)):
        assert list(frame.columns) == ["cid", "mid", "moid", "cap", "acq", "number"]
        assert list(frame["number"]) == [0, 1, 2]


def test_subclass_fields() -> None:
    class Base(TSModel, abstract=True):
        number: Int16

    class More(Base):
        other: Int16

    assert [each.name for each in dataclasses.fields(More)][-2:] == ["number", "other"]
