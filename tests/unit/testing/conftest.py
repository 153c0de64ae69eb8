"""The fixtures of tsmodel.testing, whether or not the installed package provides its entry point."""

from tsmodel.testing.plugin import ts_clock, ts_faults, ts_file, ts_server, ts_session

__all__ = ["ts_clock", "ts_faults", "ts_file", "ts_server", "ts_session"]
