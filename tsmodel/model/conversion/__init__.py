"""Outside data into models, and models into outside data: dicts, JSON, CSV; and hooks for cattrs.

Imports here point downward: `base` < conversions of values < `structures` < `composites` < `making`, `sources` < files <
`methods` and `hooks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.model.conversion.hooks import format_exception, register
else:
    __getattr__, __dir__ = lazily(__name__, {"hooks": "format_exception register"})

__all__ = ["format_exception", "register"]
