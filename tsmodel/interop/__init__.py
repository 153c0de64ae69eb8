"""Models from and to dicts, JSON, CSV and JSON Schema; models as types of pydantic and cattrs.

There is one way in. A field type knows how text and plain data become its values, one at a time and by the column
(`tsmodel.types.text_facet`). `structures` applies that to the members of a model: to a whole column first, and value by
value if that fails, which tells what is wrong and where. `sources` knows which column belongs to which member, and makes
the objects. The readers of files, `csv_reading` and `json_lines`, only cut them into columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.interop.adapters import core_schema_of, format_exception, register
    from tsmodel.interop.csv_reading import from_row, load_csv
    from tsmodel.interop.csv_writing import dump_csv
    from tsmodel.interop.json_lines import dump_jsonl, load_jsonl
    from tsmodel.interop.objects import from_dict, from_json, json_schema, to_dict, to_json
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "adapters": "core_schema_of format_exception register",
            "csv_reading": "from_row load_csv",
            "csv_writing": "dump_csv",
            "json_lines": "dump_jsonl load_jsonl",
            "objects": "from_dict from_json json_schema to_dict to_json",
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
