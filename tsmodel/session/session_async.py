"""`AsyncSession`: a session whose waits are awaited. Its rules are those of `Session`; and

* several tasks may use one session: their flushes wait for one another;
* opening takes a wait, so it happens on entering `async with`, or by awaiting `open()`.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType, UnionType
from typing import Any, TypeVar, overload

from typing_extensions import Self

from tsmodel.backend import AsyncBackend
from tsmodel.errors import SessionError
from tsmodel.model import TSModel
from tsmodel.query import AsyncQuery
from tsmodel.session.pending import DEFAULT_BATCH_SIZE, Pending
from tsmodel.session.receipt import Receipt
from tsmodel.session.threads import ThreadedStore

__all__ = ["AsyncSession"]

M = TypeVar("M", bound=TSModel)


class AsyncSession:
    """A unit of work on an asynchronous backend. Usually made by `connect_async`.

    Args:
        opener: opens the backend, which is closed with the session.
        name: what the backend is called in messages.
        batch_size: records collected before they are stored without waiting for `flush`.
    """

    def __init__(
        self,
        opener: Callable[[], Awaitable[AsyncBackend]],
        *,
        name: str = "session",
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        self._pending = Pending(name, batch_size)
        self._opener = opener
        self._backend: AsyncBackend | None = None
        self._name = name
        self._lock = asyncio.Lock()
        self._finalizer = weakref.finalize(self, self._pending.warn)

    @property
    def backend(self) -> AsyncBackend:
        """The backend.

        Raises:
            SessionError: when the session is not open.
        """
        if self._backend is None:
            raise SessionError(f"the session on {self._name} is not open: use it inside `async with connect_async(...)`")
        return self._backend

    @property
    def pending(self) -> tuple[TSModel, ...]:
        """What was added and is not stored yet."""
        return tuple(self._pending.rows)

    async def open(self) -> Self:
        """Opens the backend, unless it is open.

        Raises:
            StoreError: when the file cannot be opened.
            TransportError: when the server cannot be reached.
        """
        if self._backend is None:
            self._backend = await self._opener()
        return self

    async def add(self, row: TSModel) -> None:
        """See `Session.add`."""
        _ = self.backend
        self._pending.add(row)
        if self._pending.is_full:
            await self._store()

    async def add_all(self, rows: Iterable[TSModel]) -> None:
        """See `Session.add_all`."""
        _ = self.backend
        source = iter(rows)
        while self._pending.fill(source):
            if self._pending.is_full:
                await self._store()

    async def flush(self) -> Receipt:
        """See `Session.flush`.

        When it is cancelled, a put to the embedded store first comes to its end. A server may have stored the put or not;
        the session then still holds the records.
        """
        _ = self.backend
        await self._store()
        return self._pending.receipt()

    def discard(self) -> list[TSModel]:
        """See `Session.discard`."""
        return self._pending.discard()

    @overload
    def query(self, model: type[M]) -> AsyncQuery[M]: ...
    @overload
    def query(self, model: UnionType) -> AsyncQuery[Any]: ...
    def query(self, model: Any) -> AsyncQuery[Any]:
        """A query of `model` on this session; of several models, `Reading | Event`, too. It sees what was flushed.

        Raises:
            QueryError: when records of several models cannot be told apart.
        """
        return AsyncQuery(model, self)

    async def close(self) -> None:
        """See `Session.close`."""
        if self._backend is None:
            return
        await self.flush()
        await self._release()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._backend is None:
            return
        try:
            if error is None:
                await self.flush()
            else:
                self._pending.warn()
        finally:
            await self._release()

    async def _store(self) -> None:
        async with self._lock:
            if not self._pending.rows:
                return
            appending = asyncio.ensure_future(self._append(self.backend))
            try:
                await asyncio.shield(appending)
            except asyncio.CancelledError:
                if not isinstance(self._backend, ThreadedStore):
                    appending.cancel()
                await asyncio.wait([appending])
                raise

    async def _append(self, backend: AsyncBackend) -> None:
        started = time.perf_counter()
        encoded = self._pending.encoded()
        interval = await backend.append(encoded.batches)
        self._pending.stored(encoded, interval, time.perf_counter() - started)

    async def _release(self) -> None:
        self._finalizer.detach()
        backend, self._backend = self._backend, None
        if backend is not None:
            await backend.close()

    def __repr__(self) -> str:
        state = "not open" if self._backend is None else f"{len(self._pending.rows)} pending"
        return f"<AsyncSession on {self._name}: {state}>"
