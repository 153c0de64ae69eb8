"""How long it takes until a zoomed chart of 10 million points is drawn: the page of `tsmodel ui` in headless Chromium.

Writes a file of one series, a point a second, serves it, opens the page, and zooms in and out. What is measured is from the
key that is pressed to the second frame after the chart is drawn, in the browser.

    python benchmarks/zoom.py [--points N] [--zooms N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tsmodel import Float32, Float64, Int64, TSModel, connect, to_ns
from tsmodel.web.application import serving
from tsmodel.web.source import Source

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
PRESSED = """
new Promise((resolve) => {
  const began = performance.now();
  const before = document.body.dataset.draws;
  new MutationObserver((_, observer) => {
    if (document.body.dataset.draws === before) return;
    observer.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - began)));
  }).observe(document.body, { attributes: true, attributeFilter: ["data-draws"] });
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "KEY", bubbles: true }));
})
"""


class Reading(TSModel):
    """45 bytes with its key, as a meter sends them."""

    volts: Float32
    amps: Float64
    counter: Int64


def write(path: Path, points: int) -> None:
    """Writes the file."""
    random, start = np.random.default_rng(1), to_ns("2026-01-01T00:00:00Z")
    with connect(path) as session:
        for at in range(0, points, 1_000_000):
            places = np.arange(at, min(points, at + 1_000_000))
            session.add_columns(
                Reading,
                cid=1,
                mid=4711,
                moid=7,
                cap=start + places * 10**9,
                volts=(230 + 5 * np.sin(places / 40_000) + random.normal(0, 0.7, len(places))).astype("f4"),
                amps=np.abs(np.sin(places / 9_000)) * 10 + random.normal(0, 0.1, len(places)),
                counter=3 * places,
            )
            session.flush()


def main() -> None:
    """Measures and prints the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000_000)
    parser.add_argument("--zooms", type=int, default=40)
    options = parser.parse_args()
    # A helper of the tests, which the type checker does not see.
    from support.browser import browsing, chromium  # type: ignore[import-not-found]

    program = chromium()
    if program is None:
        sys.exit("no Chromium is installed: `apt-get install chromium`")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "points.tsdb")
        write(path, options.points)
        print(f"{options.points:,} points, {path.stat().st_size / 1e6:.0f} MB")
        session = connect(path, read_only=True)
        with serving(Source(session, [Reading])) as url, browsing(program, Path(directory, "profile")) as browser:
            browser.size(1400, 900)
            browser.open(f"{url}#s=1/4711/7&f=volts")
            browser.until("document.body.dataset.draws")
            report("the whole file, the first time", [float(browser.js("Number(document.body.dataset.drawn)"))])
            keys = ["+"] * (options.zooms // 2) + ["-"] * (options.zooms - options.zooms // 2)
            times = [float(browser.js(PRESSED.replace("KEY", key))) for key in keys]
            report(f"{len(times)} zooms, key to drawn chart", times)
            browser.js("document.body.dataset.draws = '0'")
            again: list[Any] = [browser.js(PRESSED.replace("KEY", key)) for key in ("0", "ArrowLeft", "0", "+", "0")]
            report("all of it again, and near it", list(map(float, again)))


def report(what: str, times: list[float]) -> None:
    """Prints the median and the maximum of some times, in ms."""
    print(f"{what:<34} {statistics.median(times):8.1f} ms, at most {max(times):8.1f} ms")


if __name__ == "__main__":
    main()
