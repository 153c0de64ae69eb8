"""One browser for all tests of the page; each test gets its own page and data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from support.browser import Browser, browsing, chromium

from tsmodel import Float32, Float64, Session, TSModel, connect, field, to_ns
from tsmodel.web.application import serving
from tsmodel.web.source import Source

START = to_ns("2026-11-01T00:00:00Z")
MINUTE = 60 * 10**9


class Reading(TSModel, moid=7):
    volts: Float32 = field(unit="V")
    amps: Float64 = field(unit="A")


class Shown(NamedTuple):
    """An open page.

    Attributes:
        browser: the browser that shows it.
        url: its address.
        session: the session it shows.
    """

    browser: Browser
    url: str
    session: Session


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        pytest.skip("no Chromium is installed: `apt-get install chromium`")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, browsing(path, Path(profile)) as browser:
        yield browser


def fill(session: Session) -> None:
    """Stores one day of two meters, one record per minute, with a spike, a gap and three corrections, and one meter of
    another client.
    """
    places = np.arange(1440)
    for mid in (4711, 4712):
        kept = places[(places < 600) | (places >= 700)] if mid == 4712 else places
        volts = (230 + np.sin(kept / 100)).astype("f4")
        volts[777 if mid == 4711 else 0] = 400
        session.add_columns(Reading, cid=1, mid=mid, cap=START + kept * MINUTE, volts=volts, amps=kept / 100)
    session.add(Reading(cid=2, mid=99, cap=START, volts=1.0, amps=2.0))
    session.flush()
    for row in Reading.query.using(session).mid(4711).cap_between(START + 10 * MINUTE, START + 13 * MINUTE).all():
        session.correct(row, volts=200.0)
    session.flush()


@pytest.fixture
def shown(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Shown]:
    """The page, showing a store in memory."""
    options: dict[str, Any] = getattr(request, "param", {})
    session = connect("memory:")
    fill(session)
    browser.complaints.clear()
    browser.size(1280, 900)
    browser.scheme("light")
    with serving(Source(session, [Reading]), poll=0.1, **options) as url:
        browser.open(url)
        if not options:
            browser.until("document.body.dataset.draws")
        yield Shown(browser, url, session)
        browser.send("Page.navigate", url="about:blank")
        assert browser.complaints == []
