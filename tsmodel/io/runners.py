"""What runs work: one runner that blocks, and one that awaits.

Rules kept here:

* Each effect is carried out by a function that is given with the work. Whatever it raises is thrown into the work, which
  raises it or makes something else of it: so the account of what happened is kept in one place.
* Work that is left early is closed at once, and releases what it holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from tsmodel.backend import AsyncBackend, Backend
from tsmodel.io.effects import (
    Append,
    Call,
    Check,
    Dial,
    Discard,
    Emit,
    LastAcq,
    Look,
    Pause,
    Receive,
    Removals,
    Send,
    Wait,
    Work,
)

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "AsyncPerform",
    "Perform",
    "advance",
    "advance_async",
    "on_backend",
    "on_backend_async",
    "perform",
    "perform_async",
    "run",
    "run_async",
    "stream",
    "stream_async",
]

R = TypeVar("R")

Perform: TypeAlias = Callable[[Any], object]
"""Carries out an effect, and gives its result."""
AsyncPerform: TypeAlias = Callable[[Any], Awaitable[object]]

_FREE: AbstractContextManager[object] = nullcontext()


def advance(work: Work[Any], carry_out: Perform, lock: AbstractContextManager[object] = _FREE) -> tuple[bool, Any]:
    """Runs work until it emits something or ends.

    Args:
        work: what to run.
        carry_out: carries out its effects.
        lock: held while the work itself runs, not while an effect is carried out.

    Returns:
        True and what it emitted; or False and what it came to.
    """
    answer: object = None
    failure: BaseException | None = None
    while True:
        try:
            with lock:
                effect = work.send(answer) if failure is None else work.throw(failure)
        except StopIteration as end:
            return False, end.value
        finally:
            answer = failure = None  # a failure holds this frame
        if type(effect) is Emit:
            return True, effect.value
        try:
            answer = carry_out(effect)
        except BaseException as error:  # noqa: BLE001 - the work is told, and raises it or what it makes of it
            failure = error


async def advance_async(work: Work[Any], carry_out: AsyncPerform) -> tuple[bool, Any]:
    """As `advance`, awaiting."""
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


def run(work: Work[R], carry_out: Perform, lock: AbstractContextManager[object] = _FREE) -> R:
    """What work comes to that emits nothing."""
    result: R
    _, result = advance(work, carry_out, lock)
    return result


async def run_async(work: Work[R], carry_out: AsyncPerform) -> R:
    """As `run`, awaiting."""
    result: R
    _, result = await advance_async(work, carry_out)
    return result


def stream(work: Work[R], carry_out: Perform) -> Generator[Any, None, R]:
    """What work emits; the generator returns what it comes to. Closing it closes the work."""
    try:
        while True:
            is_emitted, value = advance(work, carry_out)
            if not is_emitted:
                result: R = value
                return result
            yield value
    finally:
        work.close()


async def stream_async(work: Work[Any], carry_out: AsyncPerform) -> AsyncGenerator[Any, None]:
    """What work emits, and last what it comes to, unless that is None. Closing it closes the work."""
    try:
        is_emitted = True
        while is_emitted:
            is_emitted, value = await advance_async(work, carry_out)
            if is_emitted or value is not None:
                yield value
    finally:
        work.close()


def perform(effect: Any) -> object:
    """Carries out what concerns connections and time, blocking."""
    kind = type(effect)
    if kind is Receive:
        return effect.connection.receive(effect.buffer)
    if kind is Send:
        return effect.connection.send(effect.buffers)
    if kind is Pause:
        time.sleep(effect.seconds)
        return None
    if kind is Dial:
        from tsmodel.io.connections import Connection

        options = effect.options
        address = effect.address
        return Connection(address.host, address.port, options.timeout, options.ssl_context, resets=options.resets)
    if kind is Call:
        return effect.function()
    if kind is Wait:
        changed = threading.Event()
        with effect.told(changed.set):
            return changed.wait(min(effect.seconds, threading.TIMEOUT_MAX))
    return _perform_at_once(effect)


async def perform_async(effect: Any) -> object:
    """As `perform`, awaiting."""
    kind = type(effect)
    if kind is Receive:
        return await effect.connection.receive(effect.buffer)
    if kind is Send:
        return await effect.connection.send(effect.buffers)
    import asyncio

    if kind is Pause:
        await asyncio.sleep(effect.seconds)
        return None
    if kind is Dial:
        from tsmodel.io.streams import AsyncConnection

        options = effect.options
        address = effect.address
        return await AsyncConnection.connect(
            address.host, address.port, options.timeout, options.ssl_context, resets=options.resets
        )
    if kind is Call:
        from tsmodel.io.threads import in_thread

        return await in_thread(effect.function)
    if kind is Wait:
        changed = asyncio.get_running_loop().create_future()
        with effect.told(partial(_told, changed)):
            return await asyncio.wait([changed], timeout=None if effect.seconds == float("inf") else effect.seconds)
    return _perform_at_once(effect)


def _told(changed: asyncio.Future[None]) -> None:
    if not changed.done():
        changed.set_result(None)


def _perform_at_once(effect: Any) -> object:
    if type(effect) is Check:
        return effect.connection.is_usable()
    if type(effect) is Discard:
        return effect.connection.close()
    raise TypeError(f"no runner carries out {effect!r}")


def on_backend(backend: Callable[[], Backend], target: Callable[[], Backend] | None = None) -> Perform:
    """Carries out what concerns a backend too.

    Args:
        backend: gives it, or raises.
        target: gives the one that is appended to; None for the same.
    """
    appended_to = target or backend

    def carry_out(effect: Any) -> object:
        if type(effect) is LastAcq:
            return backend().last_acq(effect.box)
        if type(effect) is Append:
            return appended_to().append(effect.batches, **effect.named)
        if type(effect) is Look:
            with backend().scan(effect.box) as scan:
                for chunk in scan:
                    if effect.feed(chunk) is True:
                        break
            return None
        if type(effect) is Removals:
            removals: Any = getattr(backend(), "removals", None)
            return [] if removals is None else list(removals(effect.since))
        return perform(effect)

    return carry_out


def on_backend_async(backend: Callable[[], AsyncBackend], target: Callable[[], AsyncBackend] | None = None) -> AsyncPerform:
    """As `on_backend`, awaiting."""
    appended_to = target or backend

    async def carry_out(effect: Any) -> object:
        if type(effect) is LastAcq:
            return await backend().last_acq(effect.box)
        if type(effect) is Append:
            return await appended_to().append(effect.batches, **effect.named)
        if type(effect) is Look:
            async with backend().scan(effect.box) as scan:
                async for chunk in scan:
                    if effect.feed(chunk) is True:
                        break
            return None
        if type(effect) is Removals:
            removals: Any = getattr(backend(), "removals", None)
            return [] if removals is None else list(await removals(effect.since))
        return await perform_async(effect)

    return carry_out
