"""`tsmodel plot`."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import Run

MODEL = ("--model", "meter_models:Reading")


def test_plot(run: Run, readings: Path, work: Path) -> None:
    assert run("plot", readings, *MODEL).out == "plot.png\n"
    assert (work / "plot.png").read_bytes().startswith(b"\x89PNG")
    done = run("plot", readings, *MODEL, "-y", "volts", "--by", "state", "--title", "Volts!", "-o", "a.svg")
    assert done.status == 0
    drawn = (work / "a.svg").read_text()
    assert "Volts!" in drawn
    assert "state ON" in drawn
    done = run("plot", readings, *MODEL, "--mid", "1", "-o", "empty.pdf")
    assert (done.status, done.err) == (0, "no records: the picture is empty\n")


@pytest.mark.parametrize(
    ("arguments", "wording"),
    [
        ((), "give --model"),
        ((*MODEL, "-y", "volt"), "volt is not a field"),
        ((*MODEL, "-y", "note"), "draws numbers"),
        ((*MODEL, "-x", "note", "-y", "volts"), "draws numbers"),
        ((*MODEL, "--by", "x"), "x is not a field"),
        ((*MODEL, "-o", "a.txt"), "must end in one of"),
        ((*MODEL, "-o", "no/where.png"), "there is no directory"),
    ],
)
def test_plot_errors(run: Run, readings: Path, arguments: tuple[str, ...], wording: str) -> None:
    done = run("plot", readings, *arguments)
    assert wording in done.err
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
