"""Models from and to dicts, JSON, CSV and JSON Schema; models as types of pydantic and cattrs.

All inbound data takes one path. A field type converts text and plain data to its values, one value or one column at a time
(`tsmodel.types.text_facet`). `structures` maps columns of data to the members of a model, converts a whole column at once,
and, if that fails, value by value, to find out what is wrong and where; then it makes the objects. The readers of files,
`csv_reading` and `json_lines`, only cut them into columns. The methods of models, in `tsmodel.model.conversion`, combine
these parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.interop.adapters import core_schema_of, format_exception, register
else:
    __getattr__, __dir__ = lazily(__name__, {"adapters": "core_schema_of format_exception register"})

__all__ = ["core_schema_of", "format_exception", "register"]
