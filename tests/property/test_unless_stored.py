"""Random puts with and without `unless_stored` compared with a plain list, on every backend, sync and async."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.sessions import EVERYWHERE, opened_at

from tsmodel import Float32, Int16, Receipt, Text, TSModel


class Fixed(TSModel, moid=1):
    number: Int16
    volts: Float32


class Worded(TSModel, moid=2):
    words: Text


small = st.integers(0, 2)
fixed = st.builds(
    lambda cid, mid, cap, number, volts: Fixed(cid=cid, mid=mid, cap=cap, acq=5, number=number, volts=volts),
    small,
    small,
    small,
    st.integers(0, 1),
    st.sampled_from([0.0, -0.0, float("nan")]),
)
worded = st.builds(
    lambda cid, cap, words: Worded(cid=cid, mid=0, cap=cap, acq=6, words=words),
    small,
    small,
    st.sampled_from(["", "a", "ab"]),
)
puts = st.lists(st.tuples(st.booleans(), st.booleans(), st.lists(fixed | worded, max_size=12)), max_size=6)


def identity(row: Any) -> Any:
    """The identity of a record. Payloads compare as bytes: NaN equals itself, and 0.0 differs from -0.0."""
    return (*(getattr(row, name) for name in ("cid", "mid", "moid", "cap")), type(row).payload_type.to_bytes(row))


def put(session: Any, rows: list[TSModel], *, unless_stored: bool, keep_acq: bool) -> Receipt:
    session.add_all(rows, unless_stored=unless_stored, keep_acq=keep_acq)
    receipt: Receipt = session.flush()
    return receipt


@pytest.mark.parametrize(("backend", "kind"), EVERYWHERE)
@settings(max_examples=examples(60))
@given(puts=puts)
def test_only_new_records_are_stored(backend: str, kind: str, puts: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as directory, opened_at(backend, kind, Path(directory)) as session:
        held: list[Any] = []
        for unless_stored, keep_acq, rows in puts:
            expected = []
            for row in rows:
                if not unless_stored or identity(row) not in [*held, *expected]:
                    expected.append(identity(row))
            receipt = put(session, rows, unless_stored=unless_stored, keep_acq=keep_acq)
            assert (receipt.count, receipt.skipped) == (len(expected), len(rows) - len(expected))
            held += expected
        found = [identity(row) for model in (Fixed, Worded) for row in session.query(model).all()]
        assert sorted(found) == sorted(held)
