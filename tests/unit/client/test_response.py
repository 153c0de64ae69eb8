"""Responses behave as in the official client, and carry additional data."""

from __future__ import annotations

import dataclasses

import pytest

from tsmodel.client.record import Key, Record
from tsmodel.client.response import Response, ResponseAcq, ResponseGet, ResponseStatus


def test_statuses_and_their_numbers() -> None:
    assert {each.name: each.value for each in ResponseStatus} == {
        "OK": 0,
        "ERROR": -1,
        "DISCONNECTED": 128,
        "BAD_REQUEST": 129,
        "UNPARSEABLE_ENTITY": 130,
        "NO_MEMORY": 131,
    }


@pytest.mark.parametrize("status", ResponseStatus)
def test_only_ok_is_true(status: ResponseStatus) -> None:
    expected = status == 0
    assert status.is_ok() is bool(status) is expected
    for response in (Response(status), ResponseAcq(status), ResponseGet[int](status)):
        assert response.is_ok() is bool(response) is expected


def test_arguments_are_positional() -> None:
    assert ResponseAcq(ResponseStatus.OK, 17).acq == 17
    got = ResponseGet(ResponseStatus.OK, 17, [Record(Key(1), 5)])
    assert (got.status, got.acq, got.data) == (ResponseStatus.OK, 17, [Record(Key(1), 5)])
    failed = ResponseGet[int](ResponseStatus.ERROR)
    assert (failed.acq, failed.data) == (-1, [])
    assert failed.data is not ResponseGet[int](ResponseStatus.ERROR).data


def test_response_class_hierarchy() -> None:
    assert issubclass(ResponseGet, ResponseAcq)
    assert issubclass(ResponseAcq, Response)
    assert {"status", "acq", "data"} < {each.name for each in dataclasses.fields(ResponseGet)}


def test_responses_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Response(ResponseStatus.OK).status = ResponseStatus.ERROR  # type: ignore[misc]


def test_response_has_no_key_attribute() -> None:
    for kind in (Response, ResponseAcq, ResponseGet):
        assert not hasattr(kind(ResponseStatus.OK), "key")


def test_additional_data_does_not_affect_equality() -> None:
    ours = Response(ResponseStatus.OK, acq_min=1, acq_max=2, count=3, skipped=4)
    assert ours == Response(ResponseStatus.OK)
    assert (ours.acq_min, ours.acq_max, ours.count, ours.skipped) == (1, 2, 3, 4)
    assert ResponseAcq(ResponseStatus.ERROR, error=OSError("lost")) == ResponseAcq(ResponseStatus.ERROR)
    assert ResponseAcq(ResponseStatus.OK, 1) != ResponseAcq(ResponseStatus.OK, 2)
