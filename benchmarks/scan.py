"""Reading the embedded file: everything, and one series out of many."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.data import Reading, copied, readings
from benchmarks.harness import Result, race, seconds
from tsmodel import KeyRange, Session, connect
from tsmodel.model.model import codec_of

MILLIONS = 5
METERS = 5000  # a series has 1,000 records
BATCH = 100_000


def filled(path: Path) -> Session:
    """A session on a file of 5 million records, put in the order of time."""
    session = connect(path)
    for first in range(0, MILLIONS * 10**6, BATCH):
        session.add_all(readings(BATCH, first, METERS))
        session.flush()
    return session


def measure() -> list[Result]:
    """Measures a full scan to models, and single series."""
    codec = codec_of(Reading)
    with tempfile.TemporaryDirectory(dir=".") as directory, filled(Path(directory, "scan.tsdb")) as session:
        # Reads the same million records each time: objects of all five would measure the allocator.
        box = KeyRange.of(mid=(0, METERS // 5))
        with session.backend.scan(box) as scan:
            chunks = copied(scan)
        query = Reading.query.mid_between(0, METERS // 5)

        def decode() -> int:
            return sum(1 for chunk in chunks for _ in codec.rows(codec.fit(chunk).records))

        times = race({"query": lambda: sum(1 for _ in query), "decode": decode}, rounds=5)
        rng = random.Random(4)
        series = []
        for _ in range(300):
            one = Reading.query.cid(1).mid(rng.randrange(METERS)).moid(7)
            series.append(seconds(one.all))
            assert one.stats.records_returned == 1000
    cost = median(query / decode for query, decode in zip(times["query"], times["decode"], strict=True))
    count = sum(map(len, chunks))
    ordered = sorted(series)
    return [
        Result(
            "full scan to models",
            median(times["query"]),
            "decode",
            median(times["decode"]),
            1 / cost,
            "at most 1.5 x the time",
            cost <= 1.5,
            f"{cost:.2f} x the time of decoding the same chunks; {count / min(times['query']) / 1e6:.1f} M records/s",
        ),
        Result(
            f"a series of 1,000 of {MILLIONS} M",
            median(series),
            "",
            None,
            None,
            "median below 2 ms",
            median(series) < 0.002,
            f"p99 {ordered[int(len(ordered) * 0.99)] * 1000:.2f} ms",
        ),
    ]
