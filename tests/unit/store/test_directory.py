"""Directory tables."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tsmodel.store.directory import ENTRY, Directory, Table


class Walked(list[Directory]):
    """A list that counts its item accesses."""

    taken = 0

    def __iter__(self) -> Iterator[Directory]:
        for item in super().__iter__():
            self.taken += 1
            yield item


def test_put_of_many_cids_takes_linear_time() -> None:
    none = np.empty(0, ENTRY)
    old = [Directory(number, number, 0, none, number) for number in range(3)]
    added = Walked(Directory(number, number % 1000, 0, none, number) for number in range(10, 2010))
    table = Table({run.number: run for run in old}).changed({1}, added)
    assert added.taken <= 5 * len(added)
    assert [run.number for run in table.of_cid(0)] == [0, 1000, 2000]
    assert [run.number for run in table.of_cid(1)] == [1001, 2001]
    assert table.cids == list(range(1000))
    assert table.digest == sum(run.digest for run in table.runs.values())
