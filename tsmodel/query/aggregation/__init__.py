"""Aggregates of records by series and window of capture time."""
