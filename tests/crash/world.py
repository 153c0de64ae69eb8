"""Puts that remember their outcome, and a check of a file against these outcomes."""

from __future__ import annotations

import traceback
from collections import defaultdict
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from random import Random

from support.batches import batches, rows_in

from tsmodel.errors import StoreError, StoreInDoubtError
from tsmodel.keys import KeyRange
from tsmodel.store import EmbeddedStore, open_store, verify


class Violation(AssertionError):
    """A violated guarantee."""


@lru_cache
def records_of(number: int, count: int) -> list[tuple[int, int, int, int, bytes]]:
    """The records of a put. Payloads identify the put; every second put has payloads of several sizes; those of large puts
    do not compress."""
    if count >= 300:
        random = Random(number)
        return [(number % 2 + 1, number, 0, n, random.randbytes(200)) for n in range(count)]
    return [(number % 2 + 1, number, 0, n, b"%08d" % number * (1 + n % 2 * (number % 2))) for n in range(count)]


class World:
    """The puts so far and their reported outcomes.

    Attributes:
        acknowledged: puts reported as stored, with their numbers of records.
        doubtful: puts reported as in doubt.
        refused: puts reported as not stored.
        promised: the greatest acq assigned or promised.
        messages: error messages.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[int, int] = {}
        self.doubtful: dict[int, int] = {}
        self.refused: dict[int, int] = {}
        self.promised = -(2**63)
        self.messages: set[str] = set()
        self._next = 1

    def copy(self) -> World:
        made = World()
        made.acknowledged, made.doubtful, made.refused = dict(self.acknowledged), dict(self.doubtful), dict(self.refused)
        made.promised, made.messages, made._next = self.promised, self.messages, self._next
        return made

    def put(self, store: EmbeddedStore, count: int = 5) -> bool:
        """Stores some records; returns whether the put was acknowledged."""
        number, self._next = self._next, self._next + 1
        try:
            given = store.append(batches(records_of(number, count)))
        except StoreInDoubtError as error:
            self.told(error)
            self.doubtful[number] = count
            try:
                store.append(batches(records_of(0, 1)))
            except StoreError as again:
                self.told(again)
            else:
                raise Violation("a store went on after a commit was in doubt") from error
            return False
        except StoreError as error:
            self.told(error)
            self.refused[number] = count
            return False
        if given.acq_min <= self.promised:
            raise Violation(f"acq went back: {given.acq_min} was given after {self.promised}")
        self.promised = given.acq_max
        self.acknowledged[number] = count
        return True

    def told(self, error: StoreError) -> None:
        """Keeps an error's message, which must mention a file."""
        self.messages.add(str(error))
        if ".tsdb" not in str(error) or len(str(error)) < 30:
            raise Violation(f"an error does not say what is wrong, and where: {error}")

    def check(self, path: Path, *, goes_on: bool = True) -> None:
        """Opens a file and checks that it holds every acknowledged put exactly once, no partial put, and no refused put.

        Args:
            path: the file.
            goes_on: whether to store another put and to verify the file.
        """
        if not path.exists() and not self.acknowledged:
            return
        with closing(open_store(path)) as store:
            self.look(store)
            if goes_on and not self.put(store):
                raise Violation(f"a file that was opened again takes nothing more: {self.messages}")
            if goes_on:
                self.look(store)
        if goes_on and not (report := verify(path)).is_whole:
            raise Violation(str(report))

    def look(self, store: EmbeddedStore) -> None:
        """Compares a store's content with the outcomes."""
        found: dict[int, list[tuple[int, int, int, int, bytes]]] = defaultdict(list)
        acqs = set()
        total = 0
        with store.scan(KeyRange()) as scan:
            for chunk in scan:
                for cid, mid, moid, cap, acq, payload in rows_in(chunk):
                    found[mid].append((cid, mid, moid, cap, payload))
                    acqs.add(acq)
                    total += 1
        if len(acqs) != total:
            raise Violation("an acq was given twice, or a record is there twice")
        known = self.acknowledged | self.doubtful
        for number, rows in found.items():
            if number not in known:
                raise Violation(f"put {number} is there, of which it was said that nothing was stored")
            if sorted(rows) != records_of(number, known[number]):
                raise Violation(f"put {number} is there with {len(rows)} records of {known[number]}")
        if lost := self.acknowledged.keys() - found.keys():
            raise Violation(f"puts {sorted(lost)} were acknowledged and are lost")
        if acqs and max(acqs) > self.promised and not self.doubtful:
            raise Violation("there are records with an acq that nobody was given")
        if (answer := store.last_acq(KeyRange())) <= self.promised and self.promised > -(2**63):
            raise Violation(f"last_acq went back: it answers {answer}, and {self.promised} was given")


def described(error: BaseException) -> str:
    """An error and its shortened traceback."""
    return "".join(traceback.format_exception(error)[-6:])
