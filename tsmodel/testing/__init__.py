"""Helps to test programs that use tsmodel: fixtures for pytest, generated records, and comparisons.

pytest finds the fixtures by an entry point of the package; see `tsmodel.testing.plugin`.
"""

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.testing.plugin import Clock, Server
    from tsmodel.testing.proxy import Faults
    from tsmodel.testing.samples import assert_same_records, instances, records
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "proxy": "Faults",
            "plugin": "Clock Server",
            "samples": "assert_same_records instances records",
        },
    )

__all__ = ["Clock", "Faults", "Server", "assert_same_records", "instances", "records"]
