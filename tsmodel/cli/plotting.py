"""`tsmodel plot`: draws fields over time."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

from tsmodel.cli import arguments as of
from tsmodel.cli.arguments import option
from tsmodel.cli.failures import UsageError
from tsmodel.cli.output import note, written

__all__ = ["plot_"]

_SUFFIXES: Final = (".png", ".svg", ".pdf", ".jpg")
_MOST: Final = 4
"""Number of fields drawn if none is named."""
_Y: Final = "The field to draw. May be repeated. Default: the first numeric fields."
_BY: Final = "Draw a line for each value of this field; none for a single line. Default: for each series."


def plot_(
    target: of.Target = None,
    selection: of.Selection = of.EVERYTHING,
    y: Annotated[list[str] | None, option("--y -y", "FIELD", _Y)] = None,
    x: Annotated[str, option("--x -x", "FIELD", "The field along the x axis.")] = "cap",
    by: Annotated[str | None, option("--by", "FIELD", _BY)] = None,
    output: Annotated[str, option("--output -o", "FILE", "The picture: .png, .svg, .pdf or .jpg.")] = "plot.png",
    title: Annotated[str | None, option("--title", "TEXT", "Title of the chart. Default: the target.")] = None,
) -> None:
    """Draw fields over time into a picture file. Spikes stay visible however many records there are.

    Needs the extra plot: pip install 'tstorage-model[plot]'.

    Example:
      tsmodel plot readings.tsdb --model readings.toml -y volts --cap 2026-11 -o volts.png
    """
    from tsmodel.cli.opening import query_of, reading, zone
    from tsmodel.frames import library
    from tsmodel.frames.frame import names_of

    if selection.model is None:
        raise UsageError("plot needs to know the fields: give --model, which `tsmodel import` saves")
    suffix = Path(output).suffix.lower()
    if suffix not in _SUFFIXES:
        raise UsageError(f"{output} must end in one of {', '.join(_SUFFIXES)}")
    figure = library("matplotlib.figure", "tsmodel plot").Figure(figsize=(12, 5), layout="constrained")
    with reading(target) as session:
        query = query_of(session, selection)
        known = names_of(query.spec.model)
        drawn = y or _numbers(query.spec.model)
        for name in (x, *drawn, *([] if by in (None, "none") else [by])):
            if name not in known:
                raise UsageError(f"{name} is not a field; there are {', '.join(known)}")
        lines = ("cid", "mid", "moid") if by is None else () if by == "none" else (by,)
        axes = figure.subplots(len(drawn) if y is None else 1, 1, sharex=True, squeeze=False)[:, 0]
        charts: list[tuple[list[str], Any]] = (
            [([name], one) for name, one in zip(drawn, axes, strict=True)] if y is None else [(drawn, axes[0])]
        )
        for names, one in charts:
            query.plot(names, x=x, by=lines, ax=one, tz=zone(selection.tz))
            one.grid(visible=True, alpha=0.3)
            one.label_outer()
        count = sum(len(line.get_xdata()) for one in axes for line in one.get_lines())
        figure.suptitle(title if title is not None else session.name.partition("?")[0])
    if not count:
        note("no records: the picture is empty")
    with written(output) as path:
        figure.savefig(path, format=suffix[1:], dpi=120)
    print(output)


def _numbers(model: Any) -> list[str]:
    """The first numeric fields."""
    from tsmodel.model.meta import schema_of

    infos = [column.info for column in schema_of(model).columns.values() if not column.info.is_key]
    numeric = (info.name for info in infos if info.codec.present.number is not None and info.codec.present.is_amount)
    names = list(islice(numeric, _MOST))
    if not names:
        raise UsageError(f"{model.__name__} has no numeric field; name the field to draw with -y")
    return names
