"""Simulates a power cut between any two disk operations of a store, then checks its files.

usage: python tests/crash/powercut.py [--rounds 3] [--variants 6] [--seed 1]

The shim records every write, truncation, sync, creation, rename and removal of a run of puts, merges, checkpoints,
compactions, closes and opens, and the moment of each acknowledgement. Each prefix of the recording is then replayed into
new files in a state that a disk may have after a power cut: everything that was synced is there; of the rest nothing,
all or some (single sectors of a write, names up to some moment). A store opened on these files must hold every put
acknowledged by then, exactly once and whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import NamedTuple

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from crash.shim import Shim, fast_directory, restart_under_shim
from crash.world import World, described

from tsmodel.store import EmbeddedStore, blocks, maintenance
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine

SECTOR = 512
_HEAD = struct.Struct("<cxxxIIIQ")


class Event(NamedTuple):
    """One recorded operation on a file."""

    what: str
    path: str
    other: str
    at: int
    data: bytes


def events(data: bytes) -> Iterator[Event]:
    """The shim's recording; see `note` in shim.c."""
    at = 0
    while at < len(data):
        what, path, other, length, place = _HEAD.unpack_from(data, at)
        texts = data[at + _HEAD.size : at + _HEAD.size + path + other]
        at += _HEAD.size + path + other
        yield Event(what.decode(), texts[:path].decode(), texts[path:].decode(), place, data[at : at + length])
        at += length


class File:
    """A file: its durable content and the operations since its last sync."""

    def __init__(self) -> None:
        self.synced = bytearray()
        self.pending: list[tuple[int, bytes | None]] = []

    def after(self, random: Random | None, share: float) -> bytearray:
        """A possible content after a power cut: everything without `random`, else some of the sectors."""
        content = bytearray(self.synced)
        for at, data in self.pending:
            if data is None:
                if random is None or random.random() < share:
                    _cut(content, at)
                continue
            start = at
            while start < at + len(data):
                end = min((start // SECTOR + 1) * SECTOR, at + len(data))
                if random is None or random.random() < share:
                    content.extend(bytes(max(0, end - len(content))))
                    content[start:end] = data[start - at : end - at]
                start = end
        return content

    def sync(self) -> None:
        self.synced, self.pending = self.after(None, 1), []


def _cut(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


class Disk:
    """The files of one directory on a journaling file system: changes of names become durable in their order."""

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        self.names: dict[str, File] = {}
        self.history: list[dict[str, File]] = [{}]

    def do(self, event: Event) -> None:
        what, path = event.what, event.path
        if what == "s" and path == self.directory:
            self.history = [dict(self.names)]
            return
        if path.endswith(("-shm", " (deleted)")):
            return
        if what == "c":
            self.names[path] = File()
        elif what == "u":
            self.names.pop(path, None)
        elif what in "lr":
            self.names[event.other] = self.names[path]
            if what == "r":
                del self.names[path]
        elif path in self.names:
            file = self.names[path]
            if what == "w":
                file.pending.append((event.at, event.data))
            elif what == "t":
                file.pending.append((event.at, None))
            elif what == "s":
                file.sync()
        if what in "culr":
            self.history.append(dict(self.names))

    def after(self, variant: int, random: Random) -> dict[str, bytes]:
        """A possible state after a power cut. Variant 0 loses all that can be lost, variant 1 nothing, the others some."""
        names = self.history[0] if variant == 0 else self.history[-1] if variant in (1, 2) else random.choice(self.history)
        share = (0.0, 1.0, 0.0)[variant] if variant < 3 else random.choice([0.1, 0.5, 0.9])
        return {
            name: bytes(file.synced if share == 0 else file.after(None if share == 1 else random, share))
            for name, file in names.items()
        }


def work(shim: Shim, path: Path, worlds: list[World], seed: int) -> None:
    """A store's recorded operations, with a mark per world that says what was acknowledged by then."""
    random, world = Random(seed), World()

    def mark() -> None:
        worlds.append(world.copy())
        shim.mark(len(worlds) - 1)

    for _ in range(3):
        store = EmbeddedStore(SQLiteEngine(str(path)), policy=MergePolicy(fan_in=3))
        store.engine._writer.execute(f"PRAGMA wal_autocheckpoint = {random.choice([4, 12, 1000])}")
        mark()
        for _ in range(random.randrange(3, 8)):
            world.put(store, random.choice([1, 5, 60, 300]))
            mark()
        if random.random() < 0.5:
            maintenance.compact(store)
            mark()
            world.put(store)
            mark()
        store.close()
        mark()


def run(folder: Path, seed: int, variants: int, every: int = 1) -> tuple[int, int, list[str]]:
    """Returns the number of moments, the number of distinct disk states opened, and the failures."""
    shim = Shim()
    blocks.BLOCK_RECORDS = 64
    directory, after = folder / "run", folder / "after"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    shim.watch(directory)
    worlds: list[World] = []
    log = folder / "log"
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    shim.record(file)
    try:
        work(shim, directory / "store.tsdb", worlds, seed)
    finally:
        shim.record(-1)
        os.close(file)
        shim.watch(folder / "nothing")
    disk, world, random = Disk(directory), World(), Random(seed)
    wrong: list[str] = []
    seen: set[str] = set()
    moments = 0
    told = list(events(log.read_bytes()))
    for at, event in enumerate(told):
        if event.what == "!":
            world = worlds[event.at]
            continue
        disk.do(event)
        moments += 1
        if moments % every:
            continue
        for variant in range(variants):
            content = disk.after(variant, random)
            hashes = sorted((key, hashlib.sha256(data).digest()) for key, data in content.items())
            name = repr((hashes, sorted(world.acknowledged)))
            if name in seen:
                continue
            seen.add(name)
            shutil.rmtree(after, ignore_errors=True)
            after.mkdir()
            for key, data in content.items():
                (after / Path(key).name).write_bytes(data)
            try:
                check(after / "store.tsdb", world, worlds)
            except Exception as error:  # noqa: BLE001 - any exception is a finding
                wrong.append(f"seed {seed}, after event {at} {event[:4]}, variant {variant}: {described(error)}")
                if len(wrong) > 10:
                    return moments, len(seen), wrong
    return moments, len(seen), wrong


def check(path: Path, world: World, worlds: list[World]) -> None:
    """Checks that a file holds every acknowledged put; puts acknowledged later may be there too."""
    later = world.copy()
    later.doubtful = {
        number: worlds[-1].acknowledged[number] for number in worlds[-1].acknowledged.keys() - world.acknowledged
    }
    if not path.exists() and not world.acknowledged:
        return
    with closing(EmbeddedStore(SQLiteEngine(str(path)))) as store:
        later.look(store)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="number of runs to record")
    parser.add_argument("--variants", type=int, default=6, help="disk states to try at each moment")
    parser.add_argument("--every", type=int, default=1, help="try only every nth moment")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    restart_under_shim()
    began, moments, states = time.monotonic(), 0, 0
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(dir=fast_directory()) as directory:
        for seed in range(options.seed, options.seed + options.rounds):
            found = run(Path(directory), seed, options.variants, options.every)
            moments, states = moments + found[0], states + found[1]
            wrong += found[2]
    if options.json:
        print(json.dumps({"moments": moments, "states": states, "wrong": wrong}))
    else:
        for each in wrong:
            print("WRONG", each)
        print(f"{states} states of the disk at {moments} moments, {time.monotonic() - began:.0f} s, {len(wrong)} wrong")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
