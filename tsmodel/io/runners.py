"""The runners of work: a blocking and an asynchronous one.

Rules kept here:

* A function given with the work performs each effect. Its exceptions are thrown into the work, which handles or raises
  them, so the state of a request is kept in one place.
* Abandoned work is closed at once, and so are the scans that it has opened.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, aclosing, closing
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from tsmodel.io.effects import Block, Dial, Emit, Pause, Receive, Send, Wait, Work

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "AsyncPerform",
    "Perform",
    "advance",
    "advance_async",
    "awaited",
    "in_thread",
    "items",
    "items_async",
    "perform",
    "perform_async",
    "run",
    "run_async",
    "stream",
    "stream_async",
]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Perform: TypeAlias = Callable[[Any], object]
"""Performs an effect; returns its result."""
AsyncPerform: TypeAlias = Callable[[Any], Awaitable[object]]


def advance(work: Work[Any], carry_out: Perform, lock: AbstractContextManager[object] | None = None) -> tuple[bool, Any]:
    """Runs work until it emits a value or ends.

    Args:
        work: the work.
        carry_out: performs its effects.
        lock: held while the work itself runs, but not while an effect is performed.

    Returns:
        True and the emitted value, or False and the result.
    """
    answer: object = None
    failure: BaseException | None = None
    while True:
        try:
            if lock is None:
                effect = work.send(answer) if failure is None else work.throw(failure)
            else:
                with lock:
                    effect = work.send(answer) if failure is None else work.throw(failure)
        except StopIteration as end:
            return False, end.value
        finally:
            answer = failure = None  # the traceback of a failure refers to this frame
        if type(effect) is Emit:
            return True, effect.value
        try:
            answer = carry_out(effect)
        except BaseException as error:  # noqa: BLE001 - the work handles or raises it
            failure = error


async def advance_async(work: Work[Any], carry_out: AsyncPerform) -> tuple[bool, Any]:
    """Like `advance`, for asyncio."""
    answer: object = None
    failure: BaseException | None = None
    while True:
        try:
            effect = work.send(answer) if failure is None else work.throw(failure)
        except StopIteration as end:
            return False, end.value
        finally:
            answer = failure = None
        if type(effect) is Emit:
            return True, effect.value
        try:
            answer = await carry_out(effect)
        except BaseException as error:  # noqa: BLE001 - as in `advance`
            failure = error


def run(work: Work[R], carry_out: Perform, lock: AbstractContextManager[object] | None = None) -> R:
    """Runs work that emits nothing; returns its result."""
    result: R
    try:
        _, result = advance(work, carry_out, lock)
    finally:
        _release(carry_out)
    return result


async def run_async(work: Work[R], carry_out: AsyncPerform) -> R:
    """Like `run`, for asyncio."""
    result: R
    try:
        _, result = await advance_async(work, carry_out)
    finally:
        await _release_async(carry_out)
    return result


def stream(work: Work[R], carry_out: Perform) -> Generator[Any, None, R]:
    """Yields the values that work emits, and returns its result. Closing the generator closes the work."""
    try:
        while True:
            is_emitted, value = advance(work, carry_out)
            if not is_emitted:
                result: R = value
                return result
            yield value
    finally:
        work.close()
        _release(carry_out)


async def stream_async(work: Work[Any], carry_out: AsyncPerform) -> AsyncGenerator[Any, None]:
    """Yields the values that work emits and, unless it is None, its result. Closing the generator closes the work."""
    try:
        is_emitted = True
        while is_emitted:
            is_emitted, value = await advance_async(work, carry_out)
            if is_emitted or value is not None:
                yield value
    finally:
        work.close()
        await _release_async(carry_out)


def awaited(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """The asynchronous form of a method whose class has an asynchronous twin.

    The method must return what a method of the object gives that returns a result in the one class, and an awaitable in the
    other.
    """

    @wraps(method)
    async def awaiting(self: Any, /, *args: P.args, **options: P.kwargs) -> R:
        result: Any = method(self, *args, **options)
        return await result  # type: ignore[no-any-return]

    return awaiting


def items(lists: Generator[Iterable[T], None, object]) -> Iterator[T]:
    """Yields the items of a stream of lists. Closing the generator closes the stream."""
    with closing(lists):
        for each in lists:
            yield from each


async def items_async(lists: AsyncGenerator[Iterable[T], None]) -> AsyncGenerator[T, None]:
    """Like `items`, for asyncio."""
    async with aclosing(lists):
        async for each in lists:
            for item in each:
                yield item


def _release(carry_out: Perform) -> None:
    """Closes the scans of work that has ended."""
    release = getattr(carry_out, "release", None)
    if release is not None:
        release()


async def _release_async(carry_out: AsyncPerform) -> None:
    release = getattr(carry_out, "release", None)
    if release is not None:
        await release()


def perform(effect: Any) -> object:
    """Performs effects of connections and time, blocking."""
    kind = type(effect)
    if kind is Receive:
        return effect.connection.receive(effect.buffer)
    if kind is Send:
        return effect.connection.send(effect.buffers)
    if kind is Pause:
        time.sleep(effect.seconds)
        return None
    if kind is Block:
        return effect.function()
    if kind is Dial:
        from tsmodel.io.connections import Connection

        return Connection(effect.address, effect.options)
    if kind is Wait:
        changed = threading.Event()
        with effect.told(changed.set):
            return changed.wait(min(effect.seconds, threading.TIMEOUT_MAX))
    raise TypeError(f"no runner carries out {effect!r}")


async def perform_async(effect: Any) -> object:
    """Like `perform`, for asyncio."""
    kind = type(effect)
    if kind is Receive:
        return await effect.connection.receive(effect.buffer)
    if kind is Send:
        return await effect.connection.send(effect.buffers)
    if kind is Block:
        return await in_thread(effect.function)
    import asyncio

    if kind is Pause:
        await asyncio.sleep(effect.seconds)
        return None
    if kind is Dial:
        from tsmodel.io.connections_async import AsyncConnection

        return await AsyncConnection.connect(effect.address, effect.options)
    if kind is Wait:
        changed = asyncio.get_running_loop().create_future()
        with effect.told(partial(_told, changed)):
            return await asyncio.wait([changed], timeout=None if effect.seconds == float("inf") else effect.seconds)
    raise TypeError(f"no runner carries out {effect!r}")


async def in_thread(work: Callable[[], R]) -> R:
    """The result of `work`. A cancelled task waits for the thread too: what it works on must not be touched before."""
    import asyncio

    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        while not working.done():
            await asyncio.wait([working])
        if not working.cancelled():
            working.exception()
        raise


def _told(changed: asyncio.Future[None]) -> None:
    if not changed.done():
        changed.set_result(None)
