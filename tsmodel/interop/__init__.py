"""Models from and to dicts, JSON, CSV and JSON Schema; models in pydantic and cattrs.

How the values of each field type look outside is known to the type: see `tsmodel.types.text_facet`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.interop.cattrs_hooks import format_exception, register
else:
    __getattr__, __dir__ = lazily(__name__, {"cattrs_hooks": "format_exception register"})

__all__ = ["format_exception", "register"]
