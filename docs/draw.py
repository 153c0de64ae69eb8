"""Draws the pictures of the docs from real data and real output: `python docs/draw.py`.

Every picture has a ground of its own, and colours for light and for dark pages, so it can be read on both.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from tsmodel import Float32, Query, TSModel, connect, to_ns
from tsmodel.cli import main

DOCS: Final = Path(__file__).parent
PICTURES: Final = DOCS / "pictures"
PACKAGE: Final = DOCS.parent / "tsmodel"
METERS: Final = DOCS.parent / "examples" / "meters.csv"

STYLE: Final = """<style>
  .ground { fill: #ffffff; stroke: #d0d7de; }
  .card { fill: #f6f8fa; stroke: #8c959f; }
  .strong { fill: #ddf4ff; stroke: #0969da; }
  .warm { fill: #fff1e5; stroke: #bc4c00; }
  text { font: 14px system-ui, sans-serif; fill: #1f2328; }
  .small { font-size: 12px; fill: #57606a; }
  .code { font: 13px ui-monospace, monospace; }
  .title { font-weight: 600; }
  .line { stroke: #57606a; fill: none; }
  .axis { stroke: #8c959f; }
  .dot { fill: #afb8c1; }
  .read { fill: #0969da; }
  .found { fill: #bc4c00; }
  .box { fill: #0969da; fill-opacity: 0.12; stroke: #0969da; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #30363d; }
    .card { fill: #161b22; stroke: #6e7681; }
    .strong { fill: #0c2d6b; stroke: #58a6ff; }
    .warm { fill: #3d1300; stroke: #f0883e; }
    text { fill: #e6edf3; }
    .small { fill: #9ea7b3; }
    .line { stroke: #9ea7b3; }
    .axis { stroke: #6e7681; }
    .dot { fill: #484f58; }
    .read { fill: #58a6ff; }
    .found { fill: #f0883e; }
    .box { fill: #58a6ff; fill-opacity: 0.18; stroke: #58a6ff; }
  }
</style>"""


def picture(width: int, height: int, title: str, parts: list[str]) -> str:
    """An SVG with a ground; `title` is what a screen reader says."""
    head = opening(width, height)
    ground = f'<rect class="ground" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", STYLE, ground, *parts, "</svg>"]) + "\n"


def opening(width: int, height: int) -> str:
    """The tag that an SVG begins with."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words, from the lower left."""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def block(x: float, y: float, width: float, height: float, kind: str = "card") -> str:
    """A rounded rectangle."""
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'


# --- how a query becomes boxes ------------------------------------------------------------------------------------------


class Reading(TSModel, cid=1, moid=7):
    volts: Float32


METER_IDS: Final = range(4711, 4717)
HOUR: Final = 3600 * 10**9
START: Final = to_ns("2026-03-01T00:00:00Z")
LEFT, TOP, STEP, ROW = 96, 118, 25, 36


def boxes() -> str:
    """Meters by hours: all records, those in the key ranges, and those that the residual filter lets through."""
    with connect("memory:") as session:
        session.add_all(
            Reading(mid=mid, cap=START + hour * HOUR, volts=228 + (hour * 5 + mid * 3) % 11)
            for mid in METER_IDS
            for hour in range(24)
        )
        session.flush()
        query: Query[Reading] = (
            session.query(Reading)
            .mid(4712, 4713, 4715)
            .cap_between("2026-03-01T06:00:00Z", "2026-03-01T18:00:00Z")
            .where(Reading.volts > 235)
        )
        ranges = query.key_ranges()
        found = {reading.key for reading in query}
        everything = session.query(Reading).all()

    def x_of(cap: int) -> float:
        return LEFT + (cap - START) / HOUR * STEP

    def y_of(mid: int) -> float:
        return TOP + (mid - METER_IDS[0]) * ROW

    parts = [
        text(24, 34, "Reading.query.mid(4712, 4713, 4715)", "code"),
        text(24, 54, '    .cap_between("2026-03-01T06:00Z", "2026-03-01T18:00Z").where(Reading.volts > 235)', "code"),
        text(
            24,
            84,
            f"{len(ranges)} key ranges, half-open boxes of meters and times, and a residual filter: volts > 235",
            "small",
        ),
    ]
    for each in ranges:
        low, high = each.min, each.max
        x, y = x_of(low.cap) - STEP / 2, y_of(low.mid) - ROW / 2 + 3
        parts.append(block(x, y, (high.cap - low.cap) / HOUR * STEP, (high.mid - low.mid) * ROW - 6, "box"))
    for reading in everything:
        inside = any(
            each.min.mid <= reading.mid < each.max.mid and each.min.cap <= reading.cap < each.max.cap for each in ranges
        )
        kind = "found" if reading.key in found else "read" if inside else "dot"
        size = 6 if kind == "found" else 4
        parts.append(f'<circle class="{kind}" cx="{x_of(reading.cap):g}" cy="{y_of(reading.mid):g}" r="{size}"/>')
    bottom = TOP + len(METER_IDS) * ROW
    parts += [text(80, y_of(mid) + 5, str(mid), "code", "end") for mid in METER_IDS]
    parts += [text(x_of(START + hour * HOUR), bottom + 4, f"{hour:02}:00", "small", "middle") for hour in range(0, 24, 6)]
    legend = [("dot", "never read"), ("read", "read, then filtered out"), ("found", "returned")]
    for n, (kind, words) in enumerate(legend):
        parts += [
            f'<circle class="{kind}" cx="{LEFT + 190 * n}" cy="{bottom + 32}" r="5"/>',
            text(LEFT + 190 * n + 12, bottom + 36, words, "small"),
        ]
    return picture(
        720, bottom + 56, "Records of six meters over a day; two boxes cover three meters and twelve hours", parts
    )


# --- the architecture ---------------------------------------------------------------------------------------------------

ROOMS: Final = [
    ("what stands on top", "warm", ["cli", "web", "server", "schema", "codegen", "testing"]),
    ("users meet", "strong", ["session", "query", "frames"]),
    ("what a record is", "card", ["model", "interop", "layout", "types"]),
    ("where records live", "card", ["store", "client"]),
    ("how bytes travel", "card", ["wire", "io"]),
    ("everybody's words", "card", ["keys", "timestamps", "errors"]),
]


def architecture() -> str:
    """The rooms: imports go down."""
    parts = [text(24, 34, "Imports go down, never up", "title")]
    width, top = 720, 52
    for n, (what, kind, named) in enumerate(ROOMS):
        rooms = [name for name in named if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()]
        y = top + n * 62
        parts.append(text(24, y + 28, what, "small"))
        room = (width - 200 - 24 - 10 * (len(rooms) - 1)) / len(rooms)
        for at, name in enumerate(rooms):
            x = 200 + at * (room + 10)
            parts += [block(x, y, room, 46, kind), text(x + room / 2, y + 28, name, "code", "middle")]
    return picture(width, top + len(ROOMS) * 62 + 10, "The rooms of the package, one upon the other", parts)


# --- what a terminal shows ----------------------------------------------------------------------------------------------

SESSION: Final = [
    ["tsmodel", "import", "meters.csv", "--to", "meters.tsdb", "--tz", "Europe/Warsaw"],
    ["tsmodel", "series", "meters.tsdb"],
    ["tsmodel", "get", "meters.tsdb", "-m", "meters.toml", "--where", "volts > 240", "--columns", "mid,cap,volts"],
    ["tsmodel", "plot", "meters.tsdb", "-m", "meters.toml", "-y", "volts", "-o", "volts.png"],
]
LINE: Final = 19


def terminal() -> str:
    """Commands with what they print."""
    lines: list[tuple[str, str]] = []
    with working():
        for words in SESSION:
            shown = " ".join(f"'{word}'" if " " in word else word for word in words)
            lines.append(("prompt", f"$ {shown}"))
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                main(words[1:])
            printed = out.getvalue().rstrip().splitlines()
            if "Now:" in out.getvalue():  # what follows are hints
                printed = printed[: next(n for n, line in enumerate(printed) if line.startswith("Now:")) - 1]
            lines += [("", line) for line in printed]
            lines.append(("", ""))
    width, height = 860, 56 + LINE * len(lines)
    parts = [
        opening(width, height),
        "<title>A terminal: a CSV file is imported, listed, filtered and drawn</title>",
        "<style>text { font: 14px ui-monospace, monospace; fill: #e6edf3; white-space: pre; }",
        ".prompt { fill: #7ee787; font-weight: 600; }</style>",
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" fill="#0d1117" stroke="#6e7681"/>',
        *(
            f'<circle cx="{20 + 20 * n}" cy="18" r="6" fill="{fill}"/>'
            for n, fill in enumerate(("#ff5f56", "#ffbd2e", "#27c93f"))
        ),
    ]
    parts += [
        f'<text x="18" y="{50 + LINE * n}" class="{kind}">{escape(line)}</text>'
        for n, (kind, line) in enumerate(lines)
        if line
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


# --- a chart ------------------------------------------------------------------------------------------------------------


def chart() -> str:
    """The chart of the tutorial, as `tsmodel plot` draws it."""
    import matplotlib as mpl

    mpl.use("agg")
    with working(), mpl.rc_context({"svg.hashsalt": "tsmodel", "svg.fonttype": "none"}):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            main(SESSION[0][1:])
            options = ["-y", "volts", "--tz", "Europe/Warsaw", "--title", "Volts of three meters", "-o", "chart.svg"]
            main(["plot", "meters.tsdb", "-m", "meters.toml", *options])
        drawn = Path("chart.svg").read_text()
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    dark = "<style>@media (prefers-color-scheme: dark) { svg { filter: invert(0.93) hue-rotate(180deg); } }</style>"
    return re.sub(r"(<svg [^>]*>)", lambda found: found[1] + dark, drawn, count=1)


@contextlib.contextmanager
def working() -> Iterator[None]:
    """A directory with the sample file in it."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(METERS, directory)
        os.chdir(directory)
        try:
            yield
        finally:
            os.chdir(before)


DRAWN: Final[dict[str, Callable[[], str]]] = {
    "boxes.svg": boxes,
    "architecture.svg": architecture,
    "terminal.svg": terminal,
    "chart.svg": chart,
}


if __name__ == "__main__":
    for name, draw in DRAWN.items():
        (PICTURES / name).write_text(draw())
