"""What work on a backend asks for, a step at a time, and what carries a step out: to block, and to await.

Work is a generator that yields steps and is sent their results, so that it is written once for both kinds of session.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

import attrs

from tsmodel.backend import AsyncBackend, Backend
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Chunk

__all__ = ["LastAcq", "Look", "Pause", "ReadStep", "advanced", "advanced_async", "carried_out", "carried_out_async"]


@attrs.frozen
class LastAcq:
    """Asks for the last full-commit acq of a range."""

    box: KeyRange


@attrs.frozen(eq=False)
class Look:
    """Asks to feed the chunks of a range to a function: all of them, or until it returns True."""

    box: KeyRange
    feed: Callable[[Chunk], object]


@attrs.frozen
class Pause:
    """Asks to wait for some seconds."""

    seconds: float


ReadStep: TypeAlias = LastAcq | Look | Pause


def carried_out(step: ReadStep, backend: Callable[[], Backend]) -> int | None:
    """What a step comes to. `backend` gives the backend, or raises."""
    if isinstance(step, LastAcq):
        return backend().last_acq(step.box)
    if isinstance(step, Pause):
        time.sleep(step.seconds)
        return None
    with backend().scan(step.box) as scan:
        for chunk in scan:
            if step.feed(chunk) is True:
                break
    return None


async def carried_out_async(step: ReadStep, backend: Callable[[], AsyncBackend]) -> int | None:
    """As `carried_out`, awaiting."""
    import asyncio

    if isinstance(step, LastAcq):
        return await backend().last_acq(step.box)
    if isinstance(step, Pause):
        await asyncio.sleep(step.seconds)
        return None
    async with backend().scan(step.box) as scan:
        async for chunk in scan:
            if step.feed(chunk) is True:
                break
    return None


def advanced(work: Generator[Any, Any, Any], backend: Callable[[], Backend]) -> tuple[bool, Any]:
    """Carries out the steps of `work` until it yields something else or ends.

    Returns:
        True and what it yielded; or False and what it returned.
    """
    answer: object = None
    failure: BaseException | None = None
    while True:
        try:
            step = work.send(answer) if failure is None else work.throw(failure)
        except StopIteration as end:
            return False, end.value
        if not isinstance(step, (LastAcq, Look, Pause)):
            return True, step
        answer = failure = None
        try:
            answer = carried_out(step, backend)
        except BaseException as error:  # noqa: BLE001 - the work is told, and raises it or tries again
            failure = error


async def advanced_async(work: Generator[Any, Any, Any], backend: Callable[[], AsyncBackend]) -> tuple[bool, Any]:
    """As `advanced`, awaiting."""
    answer: object = None
    failure: BaseException | None = None
    while True:
        try:
            step = work.send(answer) if failure is None else work.throw(failure)
        except StopIteration as end:
            return False, end.value
        if not isinstance(step, (LastAcq, Look, Pause)):
            return True, step
        answer = failure = None
        try:
            answer = await carried_out_async(step, backend)
        except BaseException as error:  # noqa: BLE001 - as in `advanced`
            failure = error
