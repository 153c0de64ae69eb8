"""`AsyncSession`: the asynchronous session. It keeps the rules of `Session`, and these:

* Several tasks may use one session: their flushes wait for one another.
* Opening has to wait, so it happens on entering `async with`, or by awaiting `open()`.
* In a forked process the session is not open, because its event loop stays in the parent.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from types import TracebackType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from typing_extensions import Self

from tsmodel.backend import Backend
from tsmodel.errors import SessionError
from tsmodel.io.effects import Work
from tsmodel.io.fetching import OnAsyncBackend
from tsmodel.io.runners import awaited, run_async
from tsmodel.keys import KeyRange
from tsmodel.model import TSModel
from tsmodel.query import AsyncQuery, QuerySpec
from tsmodel.session.receipt import Receipt
from tsmodel.session.session import DRAINER_SECONDS, Exclusive, Session, SessionBase, corrected
from tsmodel.session.target import SessionOptions

if TYPE_CHECKING:
    from tsmodel.io.flushing import AsyncFlusher
    from tsmodel.session.copying import Copied, OnCopied
    from tsmodel.session.target import SpoolOptions

__all__ = ["AsyncSession"]

M = TypeVar("M", bound=TSModel)
R = TypeVar("R")


class AsyncSession(SessionBase):
    """A `Session` whose methods are awaited. Usually made by `connect_async`.

    An embedded store and PostgreSQL run in threads, which also call `progress`. When a task is cancelled, what it does to
    such a store is completed first; what it was sending to a server is then in doubt.

    Args:
        opener: opens the backend, which is closed with the session.
        name: the name of the backend in messages.
        options: how the session writes.
        spool: keeps puts that the backend cannot take now; None for no spool.
        named: the options as keywords, as for `connect`.
    """

    def __init__(
        self,
        opener: Callable[[], Awaitable[Backend]],
        *,
        name: str = "session",
        options: SessionOptions | None = None,
        spool: SpoolOptions | None = None,
        **named: Any,
    ) -> None:
        super().__init__(name, options or SessionOptions(**named), spool)
        self._opener = opener
        self._backend: Backend | None = None
        self._writing = asyncio.Lock()
        self._flusher: AsyncFlusher | None = None
        self._was_forked = False

    @property
    def backend(self) -> Backend:
        """The backend.

        Raises:
            SessionError: when the session is not open.
        """
        if self._backend is None:
            how = "was opened before the fork: open another in this process, and" if self._was_forked else "is not open:"
            raise SessionError(f"the session on {self._name} {how} use it inside `async with connect_async(...)`")
        return self._backend

    def on_backend(self) -> OnAsyncBackend:
        """See `Session.on_backend`."""
        return OnAsyncBackend(self.backend, self._around)

    async def open(self) -> Self:
        """Opens the backend if it is not open.

        Raises:
            StoreError: when the file cannot be opened.
            TransportError: when the server cannot be reached.
        """
        from tsmodel.io.flushing import AsyncFlusher

        if self._backend is None:
            self._backend = await self._opener()
            self._on(self._backend)
            if self._flush_seconds is not None:
                self._flusher = AsyncFlusher(self._flush_seconds, self._flush_in_background)
            if self._forwarder is not None:
                from tsmodel.session.forwarding import AsyncDrainer

                self._drainer = AsyncDrainer(self._forwarder, self.on_backend(), self)
        return self

    async def add(self, row: TSModel, *, keep_acq: bool = False, unless_stored: bool = False) -> None:
        """See `Session.add`."""
        _ = self.backend
        if self._pending.add(row, keep_acq=keep_acq, unless_stored=unless_stored) or self._failure is not None:
            await self._run(self._added())

    add_all = awaited(Session.add_all)
    add_columns = awaited(Session.add_columns)
    add_frame = awaited(Session.add_frame)
    load_parquet = awaited(Session.load_parquet)
    flush = awaited(Session.flush)
    retry = awaited(Session.retry)
    drain = awaited(Session.drain)
    wait_committed = awaited(Session.wait_committed)
    backup = awaited(Session.backup)
    compact = awaited(Session.compact)
    undo = awaited(Session.undo)
    prune = awaited(Session.prune)
    puts = awaited(Session.puts)
    removals = awaited(Session.removals)

    async def correct(self, row: M, **changes: Any) -> M:
        """See `Session.correct`."""
        correction = corrected(row, changes)
        await self.add(correction)
        return correction

    @overload
    def query(self, model: type[M]) -> AsyncQuery[M]: ...
    @overload
    def query(self, model: QuerySpec[M]) -> AsyncQuery[M]: ...
    @overload
    def query(self, model: UnionType) -> AsyncQuery[Any]: ...
    def query(self, model: Any) -> AsyncQuery[Any]:
        """A query on this session. It sees flushed records only.

        Args:
            model: a model, a union of models such as `Reading | Event`, or a `QuerySpec`.

        Raises:
            QueryError: when records of several models cannot be told apart.
        """
        return AsyncQuery(model, self)

    async def copy(
        self,
        what: AsyncQuery[Any] | QuerySpec[Any] | KeyRange,
        to: AsyncSession,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: OnCopied | None = None,
    ) -> Copied:
        """See `Session.copy`."""
        from tsmodel.session.copying import Copying, check_apart

        check_apart(self, to, AsyncSession)
        copying = Copying(what, self, to.name, self.retries, checkpoint, progress)
        there = await run_async(copying.keys_there(), to.on_backend())
        on_backend = self.on_backend()
        on_backend.target = to.on_backend()
        return await run_async(copying.steps(there), on_backend)

    async def close(self) -> None:
        """See `Session.close`."""
        if self._backend is not None:
            await self._run(self._finished())
            await self._release()
            self._pending.warn()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._backend is not None:
            try:
                if error is None:
                    await self._run(self._finished())
            finally:
                await self._release()
            self._pending.warn()

    async def _flush_in_background(self) -> None:
        await self._run(self._flush_quietly())

    async def _run(self, work: Work[R]) -> R:
        return await run_async(work, self._perform)

    async def _perform(self, effect: Any) -> object:
        if type(effect) is not Exclusive:
            return await self.on_backend()(effect)
        async with self._writing:
            await self._carry_out(effect.work)
            return None if effect.then is None else effect.then()

    def _bound(self, receipt: Receipt) -> Receipt:
        return receipt.of_async()

    async def _carry_out(self, work: Work[None]) -> None:
        """Carries out work to its end even when cancelled, except for puts to a server and pauses, which are aborted."""
        working = asyncio.ensure_future(run_async(work, self.on_backend()))
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            if self._writer.is_remote:
                working.cancel()
            await asyncio.wait([working])
            raise

    async def _release(self) -> None:
        drainer, self._drainer = self._drainer, None
        if drainer is not None:
            await drainer.stop(DRAINER_SECONDS)
        flusher, self._flusher = self._flusher, None
        if flusher is not None:
            await flusher.stop()
        self._finalizer.detach()
        backend, self._backend = self._backend, None
        if backend is not None:
            await OnAsyncBackend(backend).close()

    def _forked(self) -> None:
        super()._forked()
        self._was_forked = self._was_forked or self._backend is not None
        self._backend, self._flusher, self._drainer, self._writing = None, None, None, asyncio.Lock()

    def __repr__(self) -> str:
        return f"<AsyncSession on {self._name}: {'not open' if self._backend is None else self._pending.state()}>"
