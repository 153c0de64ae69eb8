"""Lock files for models: the layout of stored records, to be compared with the code.

schema.freeze([Reading, Event], "schema.lock")          # once, and after each intended change

def test_stored_records_stay_readable():                # in the tests
    changes = schema.check([Reading, Event], "schema.lock")
    assert not changes, changes
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.schema.changes import Change, Changes, Severity
    from tsmodel.schema.lock_file import check, freeze
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "changes": "Change Changes Severity",
            "lock_file": "check freeze",
        },
    )

__all__ = ["Change", "Changes", "Severity", "check", "freeze"]
