"""Typed models for TStorage, the distributed time-series database."""

__version__ = "0.1.0"
