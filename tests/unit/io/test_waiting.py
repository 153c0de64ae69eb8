"""Waits of asynchronous streams time out and never lose a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from tsmodel.io.connections_async import _within


def test_cancellation_that_coincides_with_a_result_is_not_lost() -> None:
    async def check() -> None:
        result = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(_within(result, 5.0))
        await asyncio.sleep(0.01)
        result.set_result(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(check())


def test_cancellation_that_coincides_with_a_failure_is_not_lost() -> None:
    async def check() -> None:
        result = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(_within(result, 5.0))
        await asyncio.sleep(0.01)
        result.set_exception(OSError("lost"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)

    asyncio.run(check())


def test_outcomes_of_a_wait() -> None:
    async def given(value: object) -> object:
        await asyncio.sleep(0)
        if isinstance(value, Exception):
            raise value
        return value

    async def check() -> None:
        assert await _within(given(7), 5.0) == 7
        with pytest.raises(OSError, match="lost"):
            await _within(given(OSError("lost")), 5.0)
        with pytest.raises(TimeoutError, match=r"nothing for 0\.01 s"):
            await _within(asyncio.sleep(30), 0.01)

    asyncio.run(check())
