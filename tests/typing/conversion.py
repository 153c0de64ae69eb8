"""Types of conversions. Checked like `typing_contract.py`; never imported at run time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

from tsmodel import Float32, TSModel, TSStruct, connect
from tsmodel.errors import ConversionError, ConversionFault


class Reading(TSModel):
    volts: Float32


class Phase(TSStruct):
    volts: Float32


def objects(reading: Reading) -> None:
    assert_type(Reading.from_dict({"cid": 1}), Reading)
    assert_type(Reading.from_json("{}", unknown="ignore"), Reading)
    assert_type(Reading.from_row(["1", "2"], names=["cid", "mid"]), Reading)
    assert_type(Phase.from_dict({"volts": 1.5}), Phase)
    assert_type(reading.to_dict(times="ns"), dict[str, Any])
    assert_type(reading.to_json(), str)
    assert_type(Reading.json_schema(), dict[str, Any])
    Reading.from_json("{}", unknown="skip")  # type: ignore[arg-type]
    reading.to_dict(times="s")  # type: ignore[arg-type]


def files() -> None:
    assert_type(Reading.load_csv(Path("a.csv"), columns={"Meter": "mid", "Note": None}, decimal=","), Iterator[Reading])
    assert_type(Reading.load_jsonl("a.jsonl", errors="collect"), Iterator[Reading])
    with connect("memory:") as session:
        session.add_all(Reading.load_csv("a.csv"))
        assert_type(Reading.dump_csv(session.query(Reading), "b.csv"), int)
        assert_type(Reading.dump_jsonl(session.query(Reading).all(), "b.jsonl"), int)
    Phase.load_csv("a.csv")  # type: ignore[attr-defined]
    Reading.load_csv("a.csv", errors="skip")  # type: ignore[arg-type]


def faults(error: ConversionError) -> None:
    assert_type(error.faults, tuple[ConversionFault, ...])
    assert_type(error.line, int | None)
    assert_type(error.faults[0].path, str)
