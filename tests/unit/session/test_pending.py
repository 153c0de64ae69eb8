"""What a session holds back: each object is encoded once, in the order of addition, also when some come during a flush."""

from __future__ import annotations

import warnings

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tsmodel import Int32, TSModel
from tsmodel.backend import AcqInterval, Batch
from tsmodel.session.pending import Pending
from tsmodel.wire.records import PUT_FORM


class First(TSModel):
    number: Int32


class Second(TSModel):
    number: Int32


def made(kinds: list[bool], at: int) -> list[TSModel]:
    return [(Second if kind else First)(cid=1, mid=0, moid=0, cap=at + n, number=0) for n, kind in enumerate(kinds)]


def caps(batches: list[Batch]) -> list[int]:
    return [int(cap) for batch in batches for cap in np.frombuffer(batch.records, PUT_FORM.dtype(4))["cap"]]


@given(st.lists(st.tuples(st.lists(st.booleans(), max_size=6), st.booleans(), st.booleans()), max_size=6))
def test_every_object_is_encoded_once_and_in_order(parts: list[tuple[list[bool], bool, bool]]) -> None:
    pending = Pending("a session", 1000)
    added = 0
    stored: list[int] = []
    for kinds, at_once, during_a_flush in parts:
        encoded = pending.encoded() if during_a_flush else None
        rows = made(kinds, added)
        if at_once:
            pending.fill(iter(rows))
        else:
            for row in rows:
                pending.add(row)
        added += len(rows)
        if encoded is not None:
            stored += caps(encoded.batches)
            pending.stored(encoded, AcqInterval(1, 2), 0.0)
    assert stored + caps(pending.encoded().batches) == list(range(added))
    assert len(pending.discard()) == added - len(stored)
    assert pending.encoded().batches == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pending.warn()
