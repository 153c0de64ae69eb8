"""Comparing records in tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from tsmodel.model import TSModel

__all__ = ["assert_same_records"]

_MOST_SHOWN: Final = 5


def assert_same_records(found: Iterable[TSModel], expected: Iterable[TSModel], *, acq: bool = False) -> None:
    """Asserts that both have the same records, each as often, in any order. Values are the same when their bytes are:
    NaN is NaN, and 231.7 is what a Float32 makes of it.

    Args:
        found: records, or a query.
        expected: likewise.
        acq: whether acquisition times have to be the same, too.

    Raises:
        AssertionError: with the first few that are missing or too many.
    """
    there, rows = _counted(found, acq)
    wanted, expected_rows = _counted(expected, acq)
    missing, extra = wanted - there, there - wanted
    if not missing and not extra:
        return
    lines = [f"{sum(there.values())} records, where {sum(wanted.values())} are expected"]
    for what, counter, shown in (("missing", missing, expected_rows), ("not expected", extra, rows)):
        lines += [f"  {what}: {shown[identity]}" for identity in list(counter)[:_MOST_SHOWN]]
        if len(counter) > _MOST_SHOWN:
            lines.append(f"  and {len(counter) - _MOST_SHOWN} more {what}")
    raise AssertionError("\n".join(lines))


def _counted(records: Iterable[TSModel], acq: bool) -> tuple[Counter[Any], dict[Any, TSModel]]:
    """How often there are records, by what makes them the same; and one of each."""
    rows: dict[Any, TSModel] = {}
    counted: Counter[Any] = Counter()
    for row in records:
        key = row.key.astuple()
        identity = (type(row).__name__, key if acq else key[:4], type(row).payload_type.to_bytes(row))
        counted[identity] += 1
        rows[identity] = row
    return counted, rows
