"""The blocking and asynchronous runners behave alike when work fails, is cancelled or is abandoned."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing, suppress
from typing import Any

import pytest

from tsmodel.errors import TransportError
from tsmodel.io.effects import Emit, Pause, Wait, Work
from tsmodel.io.retry import Retry, again
from tsmodel.io.runners import perform, perform_async, run, run_async, stream, stream_async


class World:
    """Answers effects, which are plain values, and records them."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def carry_out(self, effect: Any) -> object:
        self.seen.append(effect)
        if isinstance(effect, BaseException):
            raise effect
        return f"answer to {effect}"

    async def carry_out_async(self, effect: Any) -> object:
        await asyncio.sleep(0)
        return self.carry_out(effect)


class Both:
    """Runs work with one of the two runners."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.world = World()

    def run(self, work: Work[Any]) -> Any:
        if self.kind == "sync":
            return run(work, self.world.carry_out)
        return asyncio.run(run_async(work, self.world.carry_out_async))

    def emitted(self, work: Work[Any], most: int = 100) -> list[Any]:
        """Returns up to `most` items of a stream, and the result of the work."""
        if self.kind == "sync":
            found: list[Any] = []
            with closing(self._whole(stream(work, self.world.carry_out))) as values:
                for value in values:
                    found.append(value)
                    if len(found) == most:
                        break
            return found
        return asyncio.run(self._emitted(stream_async(work, self.world.carry_out_async), most))

    @staticmethod
    def _whole(values: Generator[Any, None, Any]) -> Generator[Any, None, None]:
        result = yield from values
        if result is not None:
            yield result

    @staticmethod
    async def _emitted(values: AsyncGenerator[Any, None], most: int) -> list[Any]:
        found: list[Any] = []
        async with aclosing(values):
            async for value in values:
                found.append(value)
                if len(found) == most:
                    break
        return found


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


def test_effects_are_answered_in_order(both: Both) -> None:
    def work() -> Work[list[Any]]:
        return [(yield 1), (yield 2)]

    assert both.run(work()) == ["answer to 1", "answer to 2"]
    assert both.world.seen == [1, 2]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
def test_exception_of_an_effect_is_thrown_into_the_work(both: Both, error: BaseException) -> None:
    caught: list[BaseException] = []

    def forgiving() -> Work[str]:
        try:
            yield error
        except BaseException as thrown:  # noqa: BLE001
            caught.append(thrown)
        return (yield "on")  # type: ignore[no-any-return]

    def passing() -> Work[None]:
        try:
            yield error
        finally:
            caught.append(error)

    if not isinstance(error, KeyboardInterrupt) or both.kind == "sync":  # asyncio would stop its loop
        assert both.run(forgiving()) == "answer to on"
        with pytest.raises(type(error)):
            both.run(passing())
        assert caught == [error, error]


def test_emitted_items_come_first_and_the_result_last(both: Both) -> None:
    def work() -> Work[int]:
        assert (yield Emit("a")) is None
        assert (yield 1) == "answer to 1"
        yield Emit("b")
        return 0

    assert both.emitted(work()) == ["a", "b", 0]


def test_abandoned_work_is_closed_at_once(both: Both) -> None:
    closed = []

    def work() -> Work[None]:
        try:
            yield Emit("a")
            yield Emit("b")
        except GeneratorExit:
            closed.append("left")
            raise

    assert both.emitted(work(), most=1) == ["a"]
    assert closed == ["left"]


def test_cancellation_reaches_the_work() -> None:
    seen: list[type[BaseException]] = []

    def work() -> Work[None]:
        try:
            yield Pause(60)
        except BaseException as error:
            seen.append(type(error))
            raise

    async def cancelled() -> None:
        task = asyncio.ensure_future(run_async(work(), perform_async))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert seen == [asyncio.CancelledError]


def test_failure_keeps_no_objects_alive() -> None:
    class Held:
        pass

    refs: list[weakref.ref[Held]] = []

    def work() -> Work[None]:
        held = Held()
        refs.append(weakref.ref(held))
        yield 1

    def fail(_: object) -> object:
        raise ValueError("no")

    async def fail_async(_: object) -> object:
        raise ValueError("no")

    gc.disable()
    try:
        with suppress(ValueError):
            run(work(), fail)
        assert refs[0]() is None
        coroutine = run_async(work(), fail_async)
        with suppress(ValueError):
            coroutine.send(None)
        assert refs[1]() is None
    finally:
        gc.enable()


def test_lock_is_released_while_the_work_waits() -> None:
    lock = threading.Lock()
    held = []

    def work() -> Work[None]:
        held.append(lock.locked())
        yield 1
        held.append(lock.locked())

    run(work(), lambda _: held.append(lock.locked()), lock)
    assert held == [True, False, True]
    assert not lock.locked()


def test_wait_ends_when_notified_or_at_its_timeout(both: Both) -> None:
    wakes: list[Any] = []

    class Waiter:
        def __init__(self, wake: Any) -> None:
            self.wake = wake

        def __enter__(self) -> None:
            wakes.append(self.wake)
            if is_notified:
                self.wake()

        def __exit__(self, *_: object) -> None:
            wakes.remove(self.wake)

    def work(seconds: float) -> Work[None]:
        yield Wait(seconds, Waiter)

    for is_notified in (True, False):
        seconds = float("inf") if is_notified else 0.01
        if both.kind == "sync":
            run(work(seconds), perform)
        else:
            asyncio.run(run_async(work(seconds), perform_async))
        assert wakes == []


def test_attempts_pause_and_end(both: Both) -> None:
    reported: list[tuple[str, bool]] = []
    failures = iter([TransportError("one"), TransportError("two")])

    def attempt() -> Work[str]:
        yield from failures
        return "done"

    def failed(error: Exception, pause: float | None) -> None:
        reported.append((str(error), pause is None))

    assert both.run(again(attempt, Retry(attempts=3), failed)) == "done"
    assert reported == [("one", False), ("two", False)]
    assert [type(effect) for effect in both.world.seen] == [TransportError, Pause, TransportError, Pause]
    failures = iter([TransportError("one"), TransportError("two")])
    with pytest.raises(TransportError, match="two"):
        both.run(again(attempt, Retry(attempts=2), failed))
    assert reported[2:] == [("one", False), ("two", True)]
