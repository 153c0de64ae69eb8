"""Analyses readings in polars: load by hour, peaks, and energy by day.

    python examples/analysis.py [STORE]      # a file made by examples/backfill.py; otherwise the sample, in memory

A lazy frame reads only what it needs: conditions on meters and times become key ranges, and unused columns are not decoded.
Needs `pip install 'tstorage-model[polars]'`.
"""

from __future__ import annotations

import sys

import polars as pl
from backfill import HERE, Meters, deliver

from tsmodel import connect

LOCAL = pl.col("cap").dt.convert_time_zone("Europe/Warsaw")


def main(target: str) -> None:
    with connect(target) as session, pl.Config(tbl_hide_dataframe_shape=True, tbl_rows=24, tbl_hide_column_data_types=True):
        if target == "memory:":
            deliver(session, HERE / "meters.csv")
        readings = session.query(Meters).latest().lazy()

        print("\nmean load by hour of the day, W")
        hours = LOCAL.dt.hour().alias("hour")
        profile = readings.group_by(hours, "mid").agg(pl.col("watts").mean()).collect()
        print(
            profile.pivot("mid", index="hour", values="watts", sort_columns=True)
            .sort("hour")
            .with_columns(pl.exclude("hour").round(0))
        )

        print("\nhighest load of each meter")
        peak = pl.col("watts").arg_max()
        peaks = readings.group_by("mid").agg(LOCAL.get(peak).alias("at"), pl.col("watts").max())
        print(peaks.sort("mid").collect())

        print("\nenergy by day, kWh (a day has 92 quarters of an hour when the clocks go forward)")
        days = LOCAL.dt.date().alias("day")
        energy = readings.group_by(days).agg(
            pl.len().alias("readings"), (pl.col("watts").sum() / 4000).round(1).alias("kWh")
        )
        print(energy.sort("day").collect())

        spikes = (pl.col("mid") == 4712) & (pl.col("volts") > 240)
        print("\nwhat is read for `mid == 4712 and volts > 240`; polars compares the volts itself:")
        print(session.query(Meters).pushed_down(spikes).explain())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "memory:")
