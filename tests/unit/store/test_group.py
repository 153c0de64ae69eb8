"""Group commit: one thread does the work of all that wait, in order, and no thread waits forever."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tsmodel.store.store import GroupCommit


class Work:
    """Records the groups. The first call waits for `goes_on`."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.begun, self.goes_on = threading.Event(), threading.Event()
        self.failing: BaseException | None = None

    def __call__(self, items: list[int]) -> None:
        self.groups.append(items)
        if len(self.groups) == 1:
            self.begun.set()
            assert self.goes_on.wait(20)
            if self.failing is not None:
                raise self.failing


@pytest.fixture
def work() -> Work:
    return Work()


def started(group: GroupCommit[int], item: int, size: int = 1) -> threading.Thread:
    def run() -> None:
        with suppress(KeyboardInterrupt):
            group.run(item, size)

    thread = threading.Thread(target=run)
    waiting = len(group._queue)
    thread.start()
    if item:
        until(lambda: len(group._queue) == waiting + 1)
    return thread


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(2000):
        if is_so():
            return
        time.sleep(0.01)
    pytest.fail("it never came to that")


def ended(threads: list[threading.Thread]) -> bool:
    for thread in threads:
        thread.join(20)
    return not any(thread.is_alive() for thread in threads)


def test_first_goes_alone_and_the_rest_follow_as_one_group(work: Work) -> None:
    group = GroupCommit(work, 100)
    threads = [started(group, 0)]
    assert work.begun.wait(20)
    threads += [started(group, number) for number in range(1, 8)]
    work.goes_on.set()
    assert ended(threads)
    assert work.groups == [[0], [1, 2, 3, 4, 5, 6, 7]]
    group.run(8, 1)
    assert work.groups[-1] == [8]


def test_large_jobs_are_split_into_groups(work: Work) -> None:
    group = GroupCommit(work, 10)
    threads = [started(group, 0)]
    assert work.begun.wait(20)
    threads += [started(group, number, size) for number, size in enumerate((4, 6, 1, 30, 5, 5), 1)]
    work.goes_on.set()
    assert ended(threads)
    assert work.groups == [[0], [1, 2], [3], [4], [5, 6]]


def test_interrupted_leader_releases_the_others(work: Work) -> None:
    group = GroupCommit(work, 100)
    threads = [started(group, 0)]
    assert work.begun.wait(20)
    threads += [started(group, number) for number in range(1, 4)]
    work.failing = KeyboardInterrupt()
    work.goes_on.set()
    assert ended(threads)
    assert work.groups == [[0], [1, 2, 3]]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Restores Ctrl-C, which background jobs of a shell ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this platform cannot interrupt threads")
@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.usefixtures("interruptible")
def test_interrupted_waiter_leaves_the_queue(work: Work, place: int) -> None:
    group = GroupCommit(work, 100)
    threads = [started(group, 0)]
    assert work.begun.wait(20)
    threads += [started(group, number) for number in range(1, place)]
    main = threading.get_ident()

    def interrupt() -> None:
        until(lambda: len(group._queue) == place)
        time.sleep(0.05)
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        group.run(place, 1)
    interrupter.join()
    threads += [started(group, number) for number in range(place + 1, 5)]
    work.goes_on.set()
    assert ended(threads)
    assert work.groups == [[0], [number for number in (1, 2, 3, 4) if number != place]]
