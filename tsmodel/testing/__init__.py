"""For tests of programs that use tsmodel: fixtures for pytest, records that are made up, comparisons.

The fixtures come with the package, by an entry point, and do nothing until a test asks for one: see
`tsmodel.testing.plugin`.
"""

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.testing.comparing import assert_same_records
    from tsmodel.testing.faults import Faults
    from tsmodel.testing.plugin import Clock, Server
    from tsmodel.testing.samples import instances, records
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "comparing": "assert_same_records",
            "faults": "Faults",
            "plugin": "Clock Server",
            "samples": "instances records",
        },
    )

__all__ = ["Clock", "Faults", "Server", "assert_same_records", "instances", "records"]
