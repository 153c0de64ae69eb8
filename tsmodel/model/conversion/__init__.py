"""Outside data into models, and models into outside data: dicts, JSON, CSV; and hooks for cattrs.

Imports here point downward: `base` < conversions of values < `structures` < `composites` < `making`, `sources` < files <
`methods` and `hooks`.
"""

from tsmodel.model.conversion.hooks import format_exception, register

__all__ = ["format_exception", "register"]
