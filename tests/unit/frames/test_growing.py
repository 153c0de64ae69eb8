"""Growing arrays: contents and copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsmodel.frames import frame as growing
from tsmodel.frames.frame import Growing

DTYPES = [np.dtype("<i8"), np.dtype("?"), np.dtype([("a", "<i4"), ("b", "S3")]), np.dtype(("<f4", (3,))), np.dtype("V7")]


def some(dtype: np.dtype[Any], count: int, seed: int) -> np.ndarray[Any, Any]:
    data = np.random.default_rng(seed).integers(0, 2, count * dtype.itemsize, np.uint8)
    return data.view(dtype.base).reshape(count, *dtype.shape)


@given(st.sampled_from(DTYPES), st.lists(st.lists(st.integers(0, 90), max_size=8), min_size=1, max_size=3))
def test_contents(dtype: np.dtype[Any], results: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing, "_SMALL", 64)
        patch.setattr(growing, "_LARGE", 1024)
        grown = Growing(dtype)
        for counts in results:
            parts = [some(dtype, count, seed) for seed, count in enumerate(counts)]
            for part in parts:
                grown.room(len(part))[:] = part
            whole = grown.result()
            assert whole.dtype == dtype.base
            assert whole.tobytes() == b"".join(part.tobytes() for part in parts)
            assert whole.shape == (sum(counts), *dtype.shape)


@pytest.mark.parametrize("count", [3, 4000, 25_000, 70_000])
def test_values_are_copied_once_unless_huge(count: int) -> None:
    grown = Growing(np.int64)
    for first in range(0, 1_000_000, count):
        grown.room(count)[:] = np.arange(first, first + count)
    places = grown._last.__array_interface__["data"]
    whole = grown.result()
    assert whole.__array_interface__["data"] == places
    assert whole.base is None
    assert (whole == np.arange(len(whole))).all()
