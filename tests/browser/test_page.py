"""The page in headless Chromium: what users see and do."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from support.browser import Browser

from browser.conftest import MINUTE, START, Reading, Shown
from tsmodel import to_iso, to_ns
from tsmodel.web import source

pytestmark = pytest.mark.browser

TOKEN = "correct-horse-battery-staple"
SERIES = "[...document.querySelectorAll('#series li')].map((e) => e.dataset.series)"
CHOSEN = "[...document.querySelectorAll('#series li.chosen')].map((e) => e.dataset.series)"
CHARTS = "[...document.querySelectorAll('.chart')].map((e) => e.dataset.field)"
LABEL = "document.querySelector('.plot').getAttribute('aria-label')"
RANGE = "[document.getElementById('from').value, document.getElementById('to').value]"
CELLS = "[...document.querySelectorAll('#records tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"


def drawn(browser: Browser, act: str | None = None, key: str | None = None) -> None:
    """Performs an action and waits until the charts are redrawn."""
    before = browser.js("document.body.dataset.draws")
    if act is not None:
        browser.js(act)
    if key is not None:
        browser.key(key)
    browser.until(f"document.body.dataset.draws !== {before!r}")


def test_page_shows_the_first_series(shown: Shown) -> None:
    browser = shown.browser
    assert browser.js(SERIES) == ["1/4711/7", "1/4712/7", "2/99/7"]
    assert browser.js(CHOSEN) == ["1/4711/7"]
    assert browser.js(CHARTS) == ["volts", "amps"]
    assert browser.js(RANGE) == ["2026-11-01 00:00:00", "2026-11-01 23:59:01"]
    assert "from 200 to 400" in browser.js(LABEL)  # includes the spike and the corrections
    browser.until("document.querySelectorAll('#records tbody tr').length === 100")
    assert browser.js(CELLS)[0][:4] == ["1", "4711", "7", "2026-11-01 23:59:00"]
    assert browser.js("document.querySelectorAll('canvas').length") == 2
    # A drawn canvas has more than one colour.
    assert (
        browser.js(
            "(() => { const c = document.querySelector('canvas'); const d = c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data; return new Set(new Uint32Array(d.buffer)).size; })()"
        )
        > 10
    )


def test_series_are_found_and_chosen_by_keyboard(shown: Shown) -> None:
    browser = shown.browser
    browser.key("/")
    assert browser.js("document.activeElement.id") == "search"
    browser.type("99")
    browser.until(f"String({SERIES}) === '2/99/7'")
    drawn(browser, key="Enter")
    assert browser.js(CHOSEN) == ["2/99/7"]
    browser.key("Escape")
    browser.until(f"{SERIES}.length === 3")
    browser.key("ArrowDown")
    browser.key("ArrowDown")
    drawn(browser, key=" ")
    assert browser.js(CHOSEN) == ["1/4712/7", "2/99/7"]
    browser.js("document.getElementById('search').value = 'nothing'")
    browser.js("document.getElementById('search').dispatchEvent(new Event('input'))")
    browser.until("document.getElementById('series-count').textContent === 'No series match.'")


def test_charts_are_zoomed_by_mouse_and_keyboard(shown: Shown) -> None:
    browser = shown.browser
    browser.js("before = document.body.dataset.draws")
    browser.drag(".u-over", 0.25, 0.75)
    browser.until("document.body.dataset.draws !== before")
    start, end = (to_ns(text.replace(" ", "T") + "Z") for text in browser.js(RANGE))
    assert start == pytest.approx(START + 360 * MINUTE, abs=10 * MINUTE)
    assert end == pytest.approx(START + 1080 * MINUTE, abs=10 * MINUTE)
    assert "from=" in browser.js("location.hash")
    drawn(browser, key="+")
    nearer = [to_ns(text.replace(" ", "T") + "Z") for text in browser.js(RANGE)]
    assert nearer[1] - nearer[0] == pytest.approx((end - start) / 2, rel=0.01)
    drawn(browser, key="ArrowRight")
    later = [to_ns(text.replace(" ", "T") + "Z") for text in browser.js(RANGE)]
    assert later[0] - nearer[0] == pytest.approx((nearer[1] - nearer[0]) / 4, rel=0.01)
    drawn(browser, "history.back()")
    assert [to_ns(text.replace(" ", "T") + "Z") for text in browser.js(RANGE)] == nearer
    drawn(browser, key="0")
    assert browser.js(RANGE) == ["2026-11-01 00:00:00", "2026-11-01 23:59:01"]
    drawn(browser, "document.querySelector('[data-span=\"3600\"]').click()")
    assert browser.js("document.querySelector('.chart .note').textContent") == "every point is shown"
    browser.js("document.getElementById('from').value = 'soon'; document.querySelector('#range [type=submit]').click()")
    assert "soon is no time" in browser.js("document.getElementById('trouble').textContent")


@pytest.mark.long
def test_line_breaks_at_a_gap_and_two_series_share_a_chart(shown: Shown) -> None:
    browser = shown.browser
    drawn(browser, "document.querySelector('#series li:nth-child(2) input').click()")
    assert browser.js("document.querySelectorAll('.chart:first-child .legend .swatch').length") == 2
    browser.hover(".u-over", 650 / 1440)  # in the gap of the second series
    browser.until("document.querySelector('.legend .value').textContent")
    values = browser.js("[...document.querySelectorAll('.chart:first-child .legend .value')].map((e) => e.textContent)")
    assert values[0].startswith("23")
    assert values[1] == ""


def test_corrections_are_visible(shown: Shown) -> None:
    browser = shown.browser
    view = f"#s=1/4711/7&f=volts&from={to_iso(START + 9 * MINUTE)}&to={to_iso(START + 12 * MINUTE)}"
    drawn(browser, f"location.hash = '{view}'")
    browser.until("document.querySelectorAll('#records tbody tr').length === 3")
    drawn(browser, key="v")
    browser.until("document.querySelectorAll('#records tbody tr').length === 5")
    assert browser.js("[...document.querySelectorAll('#records tbody tr')].map((row) => row.className)") == [
        "correction", "corrected", "correction", "corrected", "",
    ]  # fmt: skip
    assert [row[5] for row in browser.js(CELLS)][:2] == ["200", browser.js(CELLS)[1][5]]


def test_new_records_appear(shown: Shown) -> None:
    browser = shown.browser
    browser.key("l")
    browser.until("document.getElementById('live').getAttribute('aria-pressed') === 'true'")
    browser.until("document.getElementById('status').textContent === 'following'")
    shown.session.add(Reading(cid=1, mid=4711, cap=START + 1500 * MINUTE, volts=777.0, amps=1.0))
    shown.session.flush()
    browser.until(f"{CELLS}[0]?.[5] === '777'")
    browser.until(f"{LABEL}.includes('to 777')")
    assert browser.js(RANGE)[1] == "2026-11-02 01:00:01"
    browser.key("l")
    browser.until("document.getElementById('live').getAttribute('aria-pressed') === 'false'")


def test_statistics_and_files(shown: Shown, tmp_path: Path) -> None:
    browser = shown.browser
    browser.js("document.getElementById('tab-statistics').click()")
    browser.until("document.querySelectorAll('#statistics tbody tr').length")
    rows = browser.js(
        "[...document.querySelectorAll('#statistics tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))"
    )
    found = {row[0]: row[1:] for row in rows}
    assert found["points"] == ["1,440", "1,440"]
    assert found["max"][0] == "4002026-11-01 12:57:00"
    assert found["corrected"][0] == "3 (1,443 records)"
    browser.js("document.getElementById('tab-statistics').focus()")
    browser.key("ArrowRight")
    browser.until("document.querySelectorAll('#downloads a').length === 6")
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.js("document.querySelector('#downloads a').click()")
    path = tmp_path / "records-1_4711_7.csv"
    for _ in range(500):
        if path.exists():
            break
        browser.js("new Promise((resolve) => setTimeout(resolve, 20))")
    with path.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1440


def test_narrow_screen(shown: Shown) -> None:
    browser = shown.browser
    browser.size(390, 800)
    drawn(browser, "dispatchEvent(new Event('resize'))")
    assert browser.js("document.documentElement.scrollWidth") == 390
    assert browser.js("getComputedStyle(document.getElementById('side')).visibility") == "hidden"
    browser.click("#menu")
    browser.until("getComputedStyle(document.getElementById('side')).visibility === 'visible'")
    drawn(browser, "document.querySelector('#series li:nth-child(3) .name').click()")
    browser.until("getComputedStyle(document.getElementById('side')).visibility === 'hidden'")
    assert browser.js(CHOSEN) == ["2/99/7"]


@pytest.mark.long
def test_dark_mode(shown: Shown) -> None:
    browser = shown.browser
    light = browser.js("getComputedStyle(document.body).backgroundColor")
    browser.scheme("dark")
    browser.until(f"getComputedStyle(document.body).backgroundColor !== '{light}'")
    # Text and background have enough contrast to read (WCAG AA).
    for scheme in ("dark", "light"):
        browser.scheme(scheme)
        for element in ("h1", ".note", "#series .more", "button", "thead th", "[aria-pressed=true]", "#target"):
            assert browser.js(CONTRAST % element) >= 4.5, (scheme, element)


CONTRAST = """(() => {
  const light = (text) => {
    const channels = text.match(/[0-9.]+/g).map((v) => v / 255);
    const [r, g, b] = channels.map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const element = document.querySelector('%s');
  let ground = element;
  while (/, 0\\)|transparent/.test(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
  const pair = [light(getComputedStyle(element).color), light(getComputedStyle(ground).backgroundColor)];
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
})()"""


@pytest.mark.long
def test_controls_have_accessible_names(shown: Shown) -> None:
    """Every control has a name for screen readers."""
    used = "button, input, a, [tabindex='0'], [role=tab]"
    nameless = shown.browser.js(
        f'[...document.querySelectorAll("{used}")].filter((e) => e.offsetParent !== null && '
        "!e.getAttribute('aria-label') && !e.textContent.trim() && !e.labels?.length).map((e) => e.outerHTML)"
    )
    assert nameless == []


@pytest.mark.parametrize("shown", [{"token": TOKEN}], indirect=True)
def test_page_asks_for_the_token(shown: Shown) -> None:
    browser = shown.browser
    browser.until("document.getElementById('login').open")
    for text in ("wrong", TOKEN):
        browser.js("document.getElementById('token').value = ''; document.getElementById('token').focus()")
        browser.type(text)
        browser.key("Enter")
        if text == "wrong":
            browser.until("document.getElementById('login-trouble').textContent.includes('wrong')")
    browser.until("document.body.dataset.draws")
    assert browser.js("document.cookie") == ""  # scripts cannot read it
    browser.complaints.clear()  # from the requests without a token


@pytest.mark.long
@pytest.mark.parametrize("shown", [{"token": TOKEN}], indirect=True)
def test_token_in_the_url(shown: Shown) -> None:
    browser = shown.browser
    browser.send("Network.clearBrowserCookies")
    browser.send("Page.navigate", url="about:blank")
    browser.complaints.clear()
    browser.open(f"{shown.url}#token={TOKEN}")
    browser.until("document.body.dataset.draws")
    assert "token" not in browser.js("location.href")


@pytest.mark.long
def test_errors_are_shown(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(source.Source, "windows", broken)
    shown.browser.key("+")
    shown.browser.until("document.getElementById('trouble').textContent.includes('narrow the range')")
    shown.browser.complaints.clear()
