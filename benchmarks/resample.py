"""`resample`, against polars' group_by_dynamic on columns in memory."""

from __future__ import annotations

import sys

from benchmarks.data import Reading, put, readings
from benchmarks.harness import Result, compared, race
from tsmodel import Session, count
from tsmodel.store import open_store

COUNT = 500_000
EVERY = "15m"


def measure() -> list[Result]:
    """Measures six aggregates of 15 minutes, for 1,000 series with a record every second."""
    import polars as pl

    store = open_store(None)
    for first in range(0, COUNT, 100_000):
        put(store, readings(100_000, first))
    with Session(store, name="benchmark") as session:
        query = session.query(Reading)
        frame = pl.DataFrame(query.columns("mid", "cap", "volts")).sort("mid", "cap")
        volts = pl.col("volts")
        asked = {"n": count(), **{name: getattr(Reading.volts, name)() for name in ("mean", "min", "max", "first", "last")}}

        def peer() -> object:
            made = [pl.len(), volts.mean(), volts.min().alias("min"), volts.max().alias("max")]
            made += [volts.first().alias("first"), volts.last().alias("last")]
            return frame.group_by_dynamic("cap", every=f"{900 * 10**9}i", group_by="mid").agg(made)

        times = race({"resample": lambda: query.resample(EVERY).agg(**asked), "polars": peer})
    rate = f"{COUNT / min(times['resample']) / 1e6:.1f} M records/s"
    return [
        compared("resample a query", times, "resample", "polars", 0.5, f"{rate}; peer: polars, sorted columns in memory")
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        COUNT = int(sys.argv[1])
    print(measure())
