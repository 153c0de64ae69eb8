"""Benchmarks: how fast tsmodel is, as ratios to something else that runs beside it. `python -m benchmarks`."""
