"""Models and random records for tests."""

from __future__ import annotations

from hypothesis import strategies as st

from tsmodel import Bool, Float32, Int16, TSModel, UInt64
from tsmodel.keys import LIMITS


class Sample(TSModel):
    """One field of each kind that conditions treat differently."""

    level: Int16
    volts: Float32
    valid: Bool
    total: UInt64


def near(*centres: int) -> st.SearchStrategy[int]:
    """Integers close to given ones, so that conditions match some records."""
    return st.one_of([st.integers(centre - 2, centre + 2) for centre in centres])


singles = st.floats(width=32) | st.sampled_from([0.0, 1.0, 0.5, -1.0])

samples = st.builds(
    Sample,
    cid=st.integers(0, 3),
    mid=near(0, 5) | st.sampled_from([LIMITS["mid"].least, LIMITS["mid"].bound - 1]),
    moid=near(0) | st.sampled_from([LIMITS["moid"].least, LIMITS["moid"].bound - 1]),
    cap=near(0, 100) | st.sampled_from([LIMITS["cap"].least, LIMITS["cap"].bound - 1]),
    level=near(0) | st.sampled_from([-(2**15), 2**15 - 1]),
    volts=singles,
    valid=st.booleans(),
    total=near(2) | st.sampled_from([2**63, 2**64 - 1, 2**53 + 1]),
)
"""Records close to one another, including the extremes of each type."""
