"""Timing side by side: contestants take turns, so that other load on the machine affects them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Final

import attrs

__all__ = ["Result", "Times", "compared", "race", "seconds"]

LEAST: Final = 0.4


@attrs.frozen
class Result:
    """One row of the report.

    Attributes:
        name: what was measured.
        ours: median seconds.
        peer: what it is compared with.
        theirs: median seconds of that, or None when the goal is absolute.
        ratio: median over the rounds of theirs / ours: above 1 we are faster.
        goal: what the ratio, or our seconds, should be.
        met: whether it is.
        note: rates and sizes.
        cpu: the same ratio of processor time, of all threads of this process; None where it was not measured.
    """

    name: str
    ours: float
    peer: str
    theirs: float | None
    ratio: float | None
    goal: str
    met: bool
    note: str = ""
    cpu: float | None = None


class Times(dict[str, list[float]]):
    """Seconds of each contestant in each round.

    Attributes:
        cpu: the same in processor time.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__({name: [] for name in names})
        self.cpu: dict[str, list[float]] = {name: [] for name in self}


def seconds(work: Callable[[], object]) -> float:
    """Returns how long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def race(contestants: Mapping[str, Callable[[], object]], rounds: int = 7, least: float = LEAST) -> Times:
    """Seconds of a call of each contestant in each round.

    In its turn a contestant is called for at least `least` seconds, so that short ones do not pay for the caches and the
    memory that the one before has left behind. Each round begins with another one, and a first round is not counted.
    """
    times = Times(contestants)
    names = list(contestants)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            work = contestants[name]
            start, cpu, calls, taken = time.perf_counter(), time.process_time(), 0, 0.0
            while taken < least:
                work()
                calls += 1
                taken = time.perf_counter() - start
            if number:
                times[name].append(taken / calls)
                times.cpu[name].append((time.process_time() - cpu) / calls)
    return times


def compared(
    name: str, times: Mapping[str, list[float]], ours: str, peer: str, at_least: float | None, note: str = ""
) -> Result:
    """Our times against a peer's, as the median of the ratios within each round; None when no goal is set."""
    ratio = median(theirs / own for own, theirs in zip(times[ours], times[peer], strict=True))
    goal = "" if at_least is None else f"at least {at_least:g} x"
    met = at_least is None or ratio >= at_least
    cpu = None
    if isinstance(times, Times) and times.cpu[ours] and all(times.cpu[ours]):
        cpu = median(theirs / own for own, theirs in zip(times.cpu[ours], times.cpu[peer], strict=True))
    return Result(name, median(times[ours]), peer, median(times[peer]), ratio, goal, met, note, cpu)
