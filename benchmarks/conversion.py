"""Importing a CSV file as models, against `csv.DictReader` and `cattrs.structure` for each line."""

from __future__ import annotations

import csv
import tempfile
from collections import deque
from functools import partial
from pathlib import Path
from typing import Literal, NewType

import attrs
import cattrs

from benchmarks.data import Reading, readings
from benchmarks.harness import Result, compared, race
from tsmodel import to_iso, to_ns

Time = NewType("Time", int)
LINES = 200_000


@attrs.frozen
class Row:
    """A line as cattrs structures it."""

    cid: int
    mid: int
    moid: int
    cap: Time
    counter: int
    volts: float
    valid: bool


def ours(path: Path) -> None:
    """Reads models one by one."""
    deque(Reading.load_csv(path), maxlen=0)


def with_cattrs(path: Path, converter: cattrs.Converter) -> None:
    """Makes an attrs object of each line."""
    with path.open(newline="") as file:
        deque((converter.structure(line, Row) for line in csv.DictReader(file)), maxlen=0)


def told(converter: cattrs.Converter, times: str) -> cattrs.Converter:
    """Teaches a converter that "false" is not true, and how to read a time."""
    converter.register_structure_hook(bool, lambda text, _: {"true": True, "false": False}[text])
    if times == "iso":
        converter.register_structure_hook(Time, lambda text, _: to_ns(text))
    return converter


def write(path: Path, times: Literal["ns", "iso"]) -> None:
    """Writes a file as a meter's software exports it, without acq."""
    start = to_ns("2026-03-01T00:00:00Z")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in attrs.fields(Row)])
        for row in readings(LINES):
            cap: int | str = to_iso(start + row.cap) if times == "iso" else start + row.cap
            writer.writerow([row.cid, row.mid, row.moid, cap, row.counter, row.volts, "true" if row.valid else "false"])


def measure() -> list[Result]:
    """Measures imports with times as ISO 8601 text and as nanoseconds."""
    results = []
    with tempfile.TemporaryDirectory(dir=".") as directory:
        path = Path(directory, "readings.csv")
        kinds: tuple[Literal["ns", "iso"], ...] = ("ns", "iso")
        for times in kinds:
            write(path, times)
            usual = told(cattrs.Converter(), times)
            quick = told(cattrs.Converter(detailed_validation=False), times)
            contestants = {
                "ours": partial(ours, path),
                "cattrs": partial(with_cattrs, path, usual),
                "quick": partial(with_cattrs, path, quick),
            }
            taken = race(contestants, rounds=3)
            rate = f"{LINES / min(taken['ours']) / 1e6:.2f} M lines/s"
            name = f"import of CSV, times as {times}"
            results += [
                compared(name, taken, "ours", "cattrs", 3, f"{rate}; peer: DictReader, cattrs.structure"),
                compared(name, taken, "ours", "quick", 3, "the same, without detailed_validation"),
            ]
    return results
