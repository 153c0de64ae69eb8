"""Models from and to dicts, JSON, CSV and JSON Schema; models as types of pydantic and cattrs.

All inbound data takes one path. A field type converts text and plain data to its values, one value or one column at a time
(`tsmodel.types.text_facet`). `structures` maps columns of data to the members of a model, converts a whole column at once,
and, if that fails, value by value, to find out what is wrong and where; then it makes the objects. The readers of files,
`csv_reading` and `objects`, only cut them into columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.interop.adapters import core_schema_of, format_exception, register
    from tsmodel.interop.csv_reading import from_row, load_csv
    from tsmodel.interop.csv_writing import dump_csv
    from tsmodel.interop.objects import dump_jsonl, from_dict, from_json, json_schema, load_jsonl, to_dict, to_json
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "adapters": "core_schema_of format_exception register",
            "csv_reading": "from_row load_csv",
            "csv_writing": "dump_csv",
            "objects": "dump_jsonl from_dict from_json json_schema load_jsonl to_dict to_json",
        },
    )

__all__ = [
    "core_schema_of",
    "dump_csv",
    "dump_jsonl",
    "format_exception",
    "from_dict",
    "from_json",
    "from_row",
    "json_schema",
    "load_csv",
    "load_jsonl",
    "register",
    "to_dict",
    "to_json",
]
