"""Arrow columns that share memory with the embedded store equal copied ones and do not change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tsmodel import Bool, Float32, Int32, Nullable, Timestamp, TSModel, UInt8, connect, field


class Reading(TSModel):
    counter: Int32
    volts: Float32
    valid: Bool
    state: UInt8
    since: Timestamp
    extra: Nullable[int] = field(item=Int32)


def readings(count: int) -> list[Reading]:
    return [
        Reading(
            cid=1, mid=n // 1000, moid=7, cap=n, counter=n * n % 977, volts=n / 4, valid=n % 3 > 0, state=n % 5,
            since=n * 10**9, extra=None if n % 7 == 0 else n,
        )
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("cache_bytes", [0, 2**26])
def test_tables_equal_objects(tmp_path: Path, cache_bytes: int) -> None:
    rows = readings(20_000)
    with connect(tmp_path / "a.tsdb", cache_bytes=cache_bytes) as session:
        session.add_all(rows)
        session.flush()
        query = session.query(Reading)
        first, second = query.to_arrow(), query.to_arrow()
        part = query.mid_between(3, 5).to_arrow()
        filtered = query.where(Reading.counter > 500).to_arrow()
    names = ("mid", "counter", "volts", "valid", "state", "extra")
    for table, wanted in (
        (first, rows),
        (second, rows),
        (part, [row for row in rows if 3 <= row.mid < 5]),
        (filtered, [row for row in rows if row.counter > 500]),
    ):
        for name in names:
            assert table[name].to_pylist() == [getattr(row, name) for row in wanted], name
        times = table["since"].cast("int64").to_numpy()
        assert np.array_equal(times - times[0], [row.since - wanted[0].since for row in wanted])
    assert first.equals(second)
