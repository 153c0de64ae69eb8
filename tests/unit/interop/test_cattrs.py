"""Models within the classes of cattrs users."""

from __future__ import annotations

import attrs
import cattrs
import pytest

import tsmodel.interop
import tsmodel.model.conversion
from tsmodel import Float32, Int32, Nested, TSModel, TSStruct
from tsmodel.errors import ConversionError, EncodeError
from tsmodel.interop import format_exception, register


class Phase(TSStruct):
    volts: Float32


class Reading(TSModel):
    counter: Int32
    phase: Nested[Phase]


@attrs.frozen
class Report:
    author: str
    readings: list[Reading]


READING = Reading(cid=1, mid=2, moid=3, cap=4, counter=5, phase=Phase(volts=1.5))
DATA = {"author": "ann", "readings": [READING.to_dict()]}


def converter(**options: bool) -> cattrs.Converter:
    made = cattrs.Converter(**options)
    register(made)
    return made


def test_models_anywhere_in_a_class() -> None:
    report = converter().structure(DATA, Report)
    assert report == Report("ann", [READING])
    assert converter().unstructure(report) == DATA
    assert converter().structure({"author": "ann", "readings": [READING]}, Report) == report, (
        "objects are taken as they are"
    )


def test_spellings() -> None:
    made = cattrs.Converter()
    register(made, times="ns", unknown="ignore")
    assert made.unstructure(READING)["cap"] == 4
    assert made.structure({**READING.to_dict(), "what": 1}, Reading) == READING
    with pytest.raises(ValueError, match="times='never'; expected 'iso' or 'ns'"):
        register(made, times="never")  # type: ignore[arg-type]


def test_every_fault_with_its_path() -> None:
    bad = {**READING.to_dict(), "counter": "x", "phase": {"volts": None}}
    with pytest.raises(cattrs.ClassValidationError) as caught:
        converter().structure({"author": "ann", "readings": [bad]}, Report)
    assert cattrs.transform_error(caught.value, format_exception=format_exception) == [
        "'x' (str) is not an int from -2147483648 to 2147483647 @ $.readings[0].counter",
        "None (NoneType) is not a number that a Float32 holds @ $.readings[0].phase.volts",
    ]


def test_one_error_without_detailed_validation() -> None:
    with pytest.raises(ConversionError, match="Reading: counter: 'x'"):
        converter(detailed_validation=False).structure({**READING.to_dict(), "counter": "x"}, Reading)


def test_a_value_that_the_field_cannot_store() -> None:
    spoilt = Reading(cid=1, mid=2, moid=3, cap=4, counter=2**31, phase=Phase(volts=1.5))
    with pytest.raises(EncodeError, match=r"Reading\.counter: 2147483648 \(int\) is not an int") as caught:
        converter().unstructure(spoilt)
    assert caught.value.field == "counter"


def test_other_errors_are_formatted_by_cattrs() -> None:
    with pytest.raises(cattrs.ClassValidationError) as caught:
        converter().structure({"readings": []}, Report)
    assert cattrs.transform_error(caught.value, format_exception=format_exception) == ["required field missing @ $.author"]


def test_their_place_until_now() -> None:
    assert tsmodel.model.conversion.register is tsmodel.interop.register
    assert tsmodel.model.conversion.format_exception is tsmodel.interop.format_exception
    with pytest.raises(AttributeError, match="has no attribute 'registers'"):
        tsmodel.model.conversion.registers
