"""A web service over a file of readings: FastAPI, with models as bodies and responses, and one asynchronous session.

    pip install fastapi uvicorn
    uvicorn examples.service:app

    curl -X POST localhost:8000/readings -H 'content-type: application/json' \\
        -d '[{"mid": 4711, "cap": "2026-03-01T12:00:00Z", "counter": 1, "volts": 231.5}]'
    curl 'localhost:8000/readings/4711?since=2026-03-01T00:00:00Z&until=2026-03-02T00:00:00Z'
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime

from tsmodel import AsyncSession, Float32, TSModel, UInt32, connect_async
from tsmodel.errors import QueryError, TimestampError


class Reading(TSModel, cid=1, moid=7):
    counter: UInt32
    volts: Float32


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with connect_async(os.environ.get("READINGS", "readings.tsdb")) as session:
        app.state.session = session
        yield


app = FastAPI(title="Readings", lifespan=lifespan)


@app.exception_handler(QueryError)
@app.exception_handler(TimestampError)
async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Answers 422 to a query that tsmodel refuses, such as one for the year 2400. The message says what to change."""
    return JSONResponse({"detail": str(error)}, status_code=422)


async def opened(request: Request) -> AsyncSession:
    session: AsyncSession = request.app.state.session
    return session


Opened = Annotated[AsyncSession, Depends(opened)]


@app.post("/readings", status_code=204)
async def store(readings: list[Reading], session: Opened) -> None:
    """Stores readings; they are durable when the answer arrives. Sending them again stores nothing twice."""
    await session.add_all(readings, unless_stored=True)
    await session.flush()


@app.get("/readings/{mid}")
async def readings(
    mid: Annotated[int, Path(ge=0, lt=2**63 - 1)],
    since: AwareDatetime,
    until: AwareDatetime,
    session: Opened,
    limit: Annotated[int, Query(ge=1, le=100_000)] = 1000,
) -> list[Reading]:
    """Readings of a meter in the order of time, captured at `since` or later and before `until`."""
    query = session.query(Reading).mid(mid).cap_between(since, until)
    return await query.order_by(Reading.cap).limit(limit).all()
