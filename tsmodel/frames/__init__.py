"""Records as columns: NumPy, Arrow, pandas and polars, in and out."""
