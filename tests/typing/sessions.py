"""`connect` options have types that checkers enforce."""

from __future__ import annotations

from typing_extensions import assert_type

from tsmodel import AsyncSession, Retry, Session, connect, connect_async

assert_type(connect(), Session)
assert_type(connect("x.tsdb", batch_size=1, retry=Retry(), flush_every="1s", telemetry=True, create=False), Session)
assert_type(connect_async(target="x.tsdb", read_only=True, cache_bytes=0), AsyncSession)
connect("x.tsdb", batchsize=1)  # type: ignore
connect("x.tsdb", 1)  # type: ignore
connect(3)  # type: ignore
connect_async("x.tsdb", batch_size="5")  # type: ignore
