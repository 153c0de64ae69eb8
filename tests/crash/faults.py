"""Makes each write, sync, truncation, creation, rename and removal of a store fail in turn, then checks the file.

usage: python tests/crash/faults.py [--every 1] [--only put,merge,...] [--disk]

For each operation, failure mode and N, the Nth call fails with EIO or ENOSPC: once, from then on, or after writing part
of its bytes. Then the faults stop. Every acknowledged put must be there exactly once and whole; no put reported as not
stored may be there; a failed commit is in doubt. The error must be a `StoreError` that names the file, and the store must
keep working or refuse to work until it is reopened. The same must hold for a copy of the files taken at the moment of
the fault, as if the process had died.
"""

from __future__ import annotations

import argparse
import errno
import faulthandler
import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from crash.shim import CHANGES, READ, Shim, fast_directory, restart_under_shim
from crash.world import Violation, World, described

from tsmodel import Int16, TSModel, connect
from tsmodel.errors import StoreError, TSModelError, WriteError
from tsmodel.store import EmbeddedStore, blocks, maintenance, open_store, verify
from tsmodel.store import sqlite as engine
from tsmodel.store.intake import SLICE_BYTES
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine


class Way(NamedTuple):
    """A failure mode of a call."""

    name: str
    code: int
    lasting: bool = False
    partial: bool = False
    kinds: int = CHANGES


WAYS = (
    Way("EIO once", errno.EIO),
    Way("EIO from then on", errno.EIO, lasting=True),
    Way("ENOSPC once", errno.ENOSPC),
    Way("ENOSPC from then on", errno.ENOSPC, lasting=True),
    Way("ENOSPC in part", errno.ENOSPC, partial=True),
    Way("ENOSPC in part, from then on", errno.ENOSPC, partial=True, lasting=True),
    Way("EIO on reading", errno.EIO, kinds=READ),
    Way("EIO on reading, from then on", errno.EIO, kinds=READ, lasting=True),
)
_LONGEST = 15


class Run:
    """One operation with one fault."""

    def __init__(self, shim: Shim, directory: Path, world: World, arm: Callable[[], None]) -> None:
        self.shim, self.directory, self.world, self.arm = shim, directory, world, arm
        self.path = directory / "store.tsdb"
        self.store: EmbeddedStore | None = None

    def opened(self, policy: MergePolicy | None = None, slice_bytes: int = SLICE_BYTES) -> EmbeddedStore:
        self.store = EmbeddedStore(SQLiteEngine(str(self.path)), policy=policy, slice_bytes=slice_bytes)
        return self.store

    @contextmanager
    def tolerant(self) -> Iterator[None]:
        """Work that only a `StoreError` may end."""
        try:
            yield
        except StoreError as error:
            self.world.told(error)


def put(run: Run) -> None:
    store = run.opened()
    run.arm()
    for _ in range(3):
        run.world.put(store)


def create(run: Run) -> None:
    run.path.unlink()
    run.world = World()
    run.arm()
    store = run.opened()
    run.world.put(store)


def merge(run: Run) -> None:
    store = run.opened(MergePolicy(fan_in=2))
    run.arm()
    for _ in range(3):
        run.world.put(store, 40)


def spill(run: Run) -> None:
    store = run.opened()
    store.engine._writer.execute("PRAGMA cache_size = 1")
    store.engine._writer.execute("PRAGMA cache_spill = 1")
    run.arm()
    for _ in range(2):
        run.world.put(store, 1000)


def sliced(run: Run) -> None:
    """Puts that are encoded in batches before they are stored."""
    store = run.opened(slice_bytes=3000)
    store.engine._writer.execute("PRAGMA cache_size = 1")
    run.arm()
    for _ in range(2):
        run.world.put(store, 400)


def checkpoint(run: Run) -> None:
    store = run.opened()
    store.engine._writer.execute("PRAGMA wal_autocheckpoint = 3")
    run.arm()
    for _ in range(4):
        run.world.put(store)


def cut_back(run: Run) -> None:
    """Puts, each followed by a checkpoint that empties the journal."""
    before, engine._JOURNAL_LIMIT = engine._JOURNAL_LIMIT, 1
    try:
        store = run.opened()
        run.arm()
        for _ in range(3):
            run.world.put(store)
    finally:
        engine._JOURNAL_LIMIT = before


def advance(run: Run) -> None:
    store = run.opened()
    run.arm()
    with run.tolerant():
        store.advance(run.world.promised + 10**9)
        run.world.promised += 10**9 - 1
    run.world.put(store)


def close(run: Run) -> None:
    store = run.opened()
    for _ in range(3):
        run.world.put(store)
    run.arm()
    with run.tolerant():
        store.close()


def reopen(run: Run) -> None:
    """Files of a killed process: the journal is not yet merged into the file."""
    store = run.opened()
    for _ in range(3):
        run.world.put(store)
    kept = run.directory.with_name("kept")
    copied(run.path, kept)
    store.close()
    shutil.copytree(kept, run.directory, dirs_exist_ok=True)
    run.arm()
    store = run.opened()
    run.world.put(store)


def compact(run: Run) -> None:
    store = run.opened(MergePolicy(fan_in=1000))
    for _ in range(3):
        run.world.put(store, 40)
    run.arm()
    with run.tolerant():
        maintenance.compact(store)
    run.world.put(store)


def backup(run: Run) -> None:
    store, target = run.opened(), run.directory / "copy.tsdb"
    run.world.put(store)
    run.arm()
    with run.tolerant():
        maintenance.backup(store, target)
    run.shim.disarm()
    if target.exists():
        run.world.copy().check(target)


def recover(run: Run) -> None:
    target = run.directory / "copy.tsdb"
    run.arm()
    with run.tolerant():
        found = maintenance.recover(run.path, target)
        run.shim.disarm()
        if not found.faults:
            run.world.copy().check(target)
    run.shim.disarm()
    if target.exists() and not verify(target).is_whole:
        raise Violation("a file was made that is not whole")


def examine(run: Run) -> None:
    run.arm()
    with run.tolerant():
        maintenance.verify(run.path)
    with run.tolerant():
        maintenance.info(run.path)


def read_only(run: Run) -> None:
    run.arm()
    with run.tolerant():
        store = open_store(run.path, read_only=True)
        try:
            run.world.look(store)
        finally:
            store.close()


def scan(run: Run) -> None:
    store = run.opened()
    run.arm()
    for _ in range(2):
        with run.tolerant():
            run.world.look(store)
    run.world.put(store)


class Reading(TSModel):
    counter: Int16


def flush(run: Run) -> None:
    """A session; its count of pending records must stay right."""
    path = run.directory / "session.tsdb"
    session = connect(path)
    rows = [Reading(cid=1, mid=n, moid=1, cap=1, counter=1) for n in range(3)]
    session.add_all(rows)
    run.arm()
    stored = unknown = 0
    try:
        stored = session.flush().count
    except WriteError as error:
        run.world.messages.add(str(error))
        stored, unknown = error.stored, len(error.unknown)
        if stored + unknown + len(error.not_stored) != 3:
            raise Violation(f"the accounts of a flush are wrong: {error}") from error
    session.discard()
    with suppress(TSModelError):
        session.close()
    run.shim.disarm()
    session.close()
    with connect(path) as session:
        if (count := session.query(Reading).count()) not in ((0, 3) if unknown else (stored,)):
            raise Violation(f"a flush said {stored} stored and {unknown} in doubt, and {count} are there")


_CHANGES = (
    put,
    create,
    merge,
    spill,
    sliced,
    checkpoint,
    cut_back,
    advance,
    close,
    reopen,
    compact,
    backup,
    recover,
    flush,
)
OPERATIONS: dict[str, Callable[[Run], None]] = {each.__name__: each for each in (*_CHANGES, examine, read_only, scan)}


def copied(path: Path, directory: Path) -> Path:
    """Copies a file and its journals in their current state."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for end in ("", "-wal", "-journal"):
        with suppress(FileNotFoundError):
            shutil.copy(f"{path}{end}", directory / f"{path.name}{end}")
    return directory / path.name


def template(directory: Path) -> World:
    """A closed file with some runs."""
    directory.mkdir()
    world = World()
    store = EmbeddedStore(SQLiteEngine(str(directory / "store.tsdb")), policy=MergePolicy(fan_in=3))
    for count in (5, 30, 5, 5):
        world.put(store, count)
    store.close()
    return world


def attempt(
    shim: Shim, folder: Path, world: World, operation: Callable[[Run], None], way: Way, nth: int
) -> tuple[int, Run]:
    """Runs an operation whose nth call fails; returns the number of calls until it failed or finished."""
    directory = folder / "run"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(folder / "template", directory)

    def arm() -> None:
        shim.arm(nth, way.kinds, way.code, lasting=way.lasting, partial=way.partial)

    run = Run(shim, directory, world.copy(), arm)
    signal.alarm(_LONGEST)
    faulthandler.dump_traceback_later(_LONGEST + 5)
    try:
        with run.tolerant():
            operation(run)
        failed, seen = shim.failed, shim.seen
        as_left, by_then = copied(run.path, folder / "left") if run.path.exists() else None, run.world.copy()
        if run.store is not None:
            if nth % 2 and run.store.engine._failure is None and not run.store.engine._closed:
                goes_on(run)
            with run.tolerant():
                run.store.close()
            shim.disarm()
            if run.store.engine._failure is None and not run.store.engine._closed:
                raise Violation("a store that could not be closed says that it is open")
            run.store.close()
        shim.disarm()
        if as_left is not None:
            by_then.check(as_left, goes_on=nth % 7 == 0)
        run.world.check(run.path, goes_on=nth % 7 == 1 or way.lasting)
        check_nothing_is_held(directory)
    finally:
        shim.disarm()
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
    return (seen if failed else -seen), run


def goes_on(run: Run) -> None:
    """Checks that a store accepts more puts, unless it says that it must be reopened."""
    assert run.store is not None
    run.shim.disarm()
    if not run.world.put(run.store):
        raise Violation(f"a store does not go on after a fault that is over: {run.world.messages}")


def check_nothing_is_held(directory: Path) -> None:
    """Checks that no file is still open and that only the store's own files are left."""
    held = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if (name := str(each.readlink())).startswith(f"{directory}/"):
                held.append(name)
    if held or any(engine._OPENED.values()):
        raise Violation(f"files are still open: {held}, {engine._OPENED}")


def interrupted(*_: object) -> None:
    raise TimeoutError("it hangs")


def sweep(
    folder: Path, operations: list[str], every: int, *, stops: bool = False, told: Callable[[str], object] | None = None
) -> tuple[Counter[str], list[str], set[str]]:
    """Makes every call of the operations fail in every mode; returns fault count, failures and messages."""
    shim = Shim()
    blocks.BLOCK_RECORDS = 64
    shim.watch(folder / "run")
    world = template(folder / "template")
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    messages: set[str] = set()
    signal.signal(signal.SIGALRM, interrupted)
    for name in operations:
        for number, way in enumerate(WAYS):
            nth, started = 1 + (number * 3 + len(name)) % every, time.monotonic()
            while True:
                try:
                    seen, run = attempt(shim, folder, world, OPERATIONS[name], way, nth)
                    messages |= {f"{name}, {way.name}: {each.replace(str(folder), '')}" for each in run.world.messages}
                except Exception as error:  # noqa: BLE001 - any exception is a finding
                    wrong.append(f"{name}, {way.name}, call {nth}: {described(error)}")
                    if stops or len(wrong) > 40:
                        return counts, wrong, messages
                    engine._OPENED.clear()
                    nth += every
                    if nth > 3000:
                        break
                    continue
                if seen <= 0:
                    break
                counts[name] += 1
                nth += every
            if told is not None:
                told(f"{name}, {way.name}: {time.monotonic() - started:.1f} s, up to call {nth}")
    return counts, wrong, messages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="try only every nth call")
    parser.add_argument("--only", default=",".join(OPERATIONS), help="operations, separated by commas")
    parser.add_argument("--disk", action="store_true", help="keep the files on a disk, not in memory")
    parser.add_argument("--stops", action="store_true", help="stop at the first failure")
    parser.add_argument("--messages", action="store_true", help="show the error messages")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    restart_under_shim()
    began = time.monotonic()
    told = None if options.json else lambda line: print(line, file=sys.stderr, flush=True)
    base = Path(tempfile.gettempdir()) if options.disk else fast_directory()
    with tempfile.TemporaryDirectory(dir=base) as directory:
        counts, wrong, messages = sweep(
            Path(directory), options.only.split(","), options.every, stops=options.stops, told=told
        )
    if options.json:
        print(json.dumps({"faults": dict(counts), "wrong": wrong}))
    else:
        for name, count in counts.items():
            print(f"{name:12}{count:6} faults")
        for each in sorted(messages) if options.messages else []:
            print(" ", each)
        for each in wrong:
            print("WRONG", each)
        print(f"{sum(counts.values())} faults in {time.monotonic() - began:.0f} s, {len(wrong)} things wrong")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
