"""Retry policies: valid arguments, and the pauses they produce."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsmodel import Retry
from tsmodel.errors import EncodeError, RemoteProtocolError, ServerError, SessionError, StoreError, TransportError
from tsmodel.io.retry import ONCE, Attempts, may_pass

LOST = TransportError("the line is dead")


@pytest.mark.parametrize(
    ("options", "wording"),
    [
        ({"attempts": 0}, "attempts takes an int from 1, not 0"),
        ({"attempts": True}, "attempts takes an int from 1, not True"),
        ({"first": "0s"}, "first is '0s'; it must be above 0"),
        ({"first": None}, "first: "),
        ({"most": "soon"}, "most: 'soon' is not a duration"),
        ({"within": -5}, "within is -5; it must be above 0"),
        ({"on_unknown": "perhaps"}, "on_unknown is one of 'raise', 'check', 'duplicate', not 'perhaps'"),
        ({"settle": "0ms"}, "settle is '0ms'"),
    ],
)
def test_invalid_policies(options: dict[str, Any], wording: str) -> None:
    with pytest.raises(SessionError, match=wording):
        Retry(**options)


@pytest.mark.parametrize(
    ("error", "may"),
    [
        (LOST, True),
        (RemoteProtocolError("the connection ended"), True),
        (ServerError("", status=-3), True),
        (ServerError("", status=-4), True),
        (ServerError("", status=-12), True),
        (ServerError("", status=-7), False),
        (ServerError("", status=-6), False),
        (StoreError("the disk is full"), False),
        (EncodeError("bad"), False),
        (KeyError(), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_retryable_failures(error: BaseException, may: bool) -> None:
    assert may_pass(error) is may
    assert (Attempts(Retry()).pause(error) is not None) is may


@given(st.integers(1, 90), st.integers(1, 10_000), st.integers(1, 10_000))
def test_pauses(attempts: int, first: int, most: int) -> None:
    tries = Attempts(Retry(attempts=attempts, first=f"{first}ms", most=dt.timedelta(milliseconds=most)))
    for number in range(attempts - 1):
        greatest = min(most, first * 2**number) / 1000
        pause = tries.pause(LOST)
        assert pause is not None
        assert greatest / 2 <= pause <= greatest
    assert tries.pause(LOST) is None


def test_pauses_end_before_the_deadline() -> None:
    assert Attempts(Retry(first="1s", within="100ms")).pause(LOST) is None
    assert Attempts(Retry(first="10ms", within="10s")).pause(LOST) is not None


def test_no_policy_means_no_retry() -> None:
    assert Attempts(ONCE).pause(LOST) is None
