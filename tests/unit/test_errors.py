"""Errors: one root class, families, data as attributes, and pickling."""

from __future__ import annotations

import inspect
import pickle

import pytest
from support.models import Sample

from tsmodel import errors
from tsmodel.errors import ConversionFault, TSModelError
from tsmodel.keys import Key

CLASSES = [getattr(errors, name) for name in errors.__all__]
EXCEPTIONS = [each for each in CLASSES if issubclass(each, Exception) and not issubclass(each, Warning)]

DATA: dict[str, dict[str, object]] = {
    "SchemaError": {"model": "Reading", "field": "volts"},
    "UnavailableError": {"model": "Reading", "field": "volts"},
    "KeyRangeError": {"field": "cid"},
    "EncodeError": {"record": 3, "field": "volts", "value": "x"},
    "DecodeError": {"key": Key(1, 2, 3, 4, 5), "payload": b"abc", "offset": 1, "field": "volts"},
    "UpgradeError": {
        "key": Key(1, 2, 3, 4, 5),
        "payload": b"abc",
        "offset": None,
        "field": None,
        "old": "ReadingV1",
        "new": "ReadingV2",
    },
    "ConversionError": {
        "faults": (ConversionFault("is no int", "mid", "x", 3, "Meter"),),
        "line": 3,
        "record": {"mid": "x"},
    },
    "RemoteProtocolError": {"offset": 12},
    "TruncatedError": {"offset": 12},
    "ServerError": {"status": -7},
    "MissingLibraryError": {"library": "pyarrow"},
    "StoreError": {"path": "a.tsdb"},
    "StoreFormatError": {"path": "a.tsdb"},
    "StoreInDoubtError": {"path": "a.tsdb"},
    "StoreCorruptError": {"path": "a.tsdb"},
    "StoreRecoveryError": {"path": "a.tsdb"},
    "SpoolFullError": {"path": "spool.tsdb", "size": 5, "most": 4},
    "StoreUnreachableError": {"path": "postgresql://host/db"},
    "StoreUnansweredError": {"path": "postgresql://host/db"},
    "PoolTimeoutError": {"busy": 8, "size": 8},
    "CommitTimeoutError": {"acq": 5, "wanted": 6},
    "WriteError": {
        "stored": 2,
        "not_stored": (Sample(cid=1, mid=2, moid=3, cap=4, level=1, volts=1.5, valid=True, total=2),),
        "unknown": (Sample(cid=1, mid=2, moid=3, cap=5, level=1, volts=1.5, valid=True, total=2),),
        "not_stored_numbers": range(2, 3),
        "unknown_numbers": range(3, 4),
    },
}


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_every_error_has_the_root_class_and_can_be_pickled(kind: type[TSModelError]) -> None:
    assert issubclass(kind, TSModelError)
    data = DATA.get(kind.__name__, {})
    error = kind("what went wrong", **data)
    for copy in (error, pickle.loads(pickle.dumps(error))):
        assert type(copy) is kind
        assert str(copy) == "what went wrong"
        assert {name: getattr(copy, name) for name in data} == data


def test_every_error_of_the_module_is_listed() -> None:
    defined = {name for name, each in vars(errors).items() if isinstance(each, type) and each.__module__ == errors.__name__}
    assert set(errors.__all__) == defined


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_every_error_with_data_has_an_example(kind: type[TSModelError]) -> None:
    declared = {name for each in kind.__mro__ if issubclass(each, TSModelError) for name in inspect.get_annotations(each)}
    assert declared == set(DATA.get(kind.__name__, {}))
    with pytest.raises(TypeError, match=f"^{kind.__name__} has no attribute 'colour'$"):
        kind("message", colour="red")


def test_data_is_optional() -> None:
    for kind in EXCEPTIONS:
        error = kind("message")
        assert all(getattr(error, name) in (None, b"", 0, ()) for name in DATA.get(kind.__name__, {}))


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.SchemaError, TypeError),
        (errors.TimestampError, ValueError),
        (errors.KeyRangeError, ValueError),
        (errors.EncodeError, ValueError),
        (errors.DecodeError, ValueError),
        (errors.ConversionError, ValueError),
        (errors.TransportError, OSError),
        (errors.CommitTimeoutError, TimeoutError),
        (errors.PoolTimeoutError, TimeoutError),
        (errors.UnflushedWarning, UserWarning),
    ],
)
def test_errors_are_also_builtin_errors(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        (errors.NoResultError, errors.QueryError),
        (errors.MultipleResultsError, errors.QueryError),
        (errors.NoSessionError, errors.SessionError),
        (errors.LocalProtocolError, errors.ProtocolError),
        (errors.RemoteProtocolError, errors.ProtocolError),
        (errors.TruncatedError, errors.RemoteProtocolError),
        (errors.PoolTimeoutError, errors.TransportError),
        (errors.StoreFormatError, errors.StoreError),
        (errors.StoreInDoubtError, errors.StoreError),
        (errors.StoreCorruptError, errors.StoreError),
    ],
)
def test_error_families(kind: type[Exception], family: type[Exception]) -> None:
    assert issubclass(kind, family)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (ConversionFault("it is no object"), "it is no object"),
        (ConversionFault("is missing", "phase.volts"), "phase.volts: is missing"),
        (ConversionFault("is missing", "mid", line=3), "line 3, mid: is missing"),
        (ConversionFault("is no int", "mid", "x", 3, "mid"), "line 3, column 'mid': is no int"),
        (ConversionFault("is no int", "mid", "x", 3, "Meter"), "line 3, column 'Meter' (mid): is no int"),
        (ConversionFault("has 3 cells", line=3), "line 3: has 3 cells"),
    ],
)
def test_fault_names_its_place(fault: ConversionFault, text: str) -> None:
    assert str(fault) == text
