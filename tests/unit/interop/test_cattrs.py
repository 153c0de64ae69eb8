"""Models inside attrs classes converted with cattrs."""

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


def test_models_nested_in_attrs_class() -> None:
    report = converter().structure(DATA, Report)
    assert report == Report("ann", [READING])
    assert converter().unstructure(report) == DATA
    assert converter().structure({"author": "ann", "readings": [READING]}, Report) == report, (
        "existing objects pass through unchanged"
    )


def test_options() -> None:
    made = cattrs.Converter()
    register(made, times="ns", unknown="ignore")
    assert made.unstructure(READING)["cap"] == 4
    assert made.structure({**READING.to_dict(), "what": 1}, Reading) == READING
    with pytest.raises(ValueError, match="times='never'; expected 'iso' or 'ns'"):
        register(made, times="never")  # type: ignore[arg-type]


def test_all_faults_are_reported_with_paths() -> None:
    bad = {**READING.to_dict(), "counter": "x", "phase": {"volts": None}}
    with pytest.raises(cattrs.ClassValidationError) as caught:
        converter().structure({"author": "ann", "readings": [bad]}, Report)
    assert cattrs.transform_error(caught.value, format_exception=format_exception) == [
        "'x' (str) is not an int from -2147483648 to 2147483647 @ $.readings[0].counter",
        "None (NoneType) is not a number that a Float32 holds @ $.readings[0].phase.volts",
    ]


def test_conversion_error_without_detailed_validation() -> None:
    with pytest.raises(ConversionError, match="Reading: counter: 'x'"):
        converter(detailed_validation=False).structure({**READING.to_dict(), "counter": "x"}, Reading)


def test_unstorable_value_is_refused() -> None:
    invalid = Reading(cid=1, mid=2, moid=3, cap=4, counter=2**31, phase=Phase(volts=1.5))
    with pytest.raises(EncodeError, match=r"Reading\.counter: 2147483648 \(int\) is not an int") as caught:
        converter().unstructure(invalid)
    assert caught.value.field == "counter"


def test_other_errors_are_formatted_by_cattrs() -> None:
    with pytest.raises(cattrs.ClassValidationError) as caught:
        converter().structure({"readings": []}, Report)
    assert cattrs.transform_error(caught.value, format_exception=format_exception) == ["required field missing @ $.author"]


def test_old_import_path_still_works() -> None:
    assert tsmodel.model.conversion.register is tsmodel.interop.register
    assert tsmodel.model.conversion.format_exception is tsmodel.interop.format_exception
    with pytest.raises(AttributeError, match="has no attribute 'registers'"):
        tsmodel.model.conversion.registers
