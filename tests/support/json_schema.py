"""A validator for the subset of JSON Schema that models use."""

from __future__ import annotations

import re
from typing import Any

TYPES: dict[str, Any] = {"string": str, "boolean": bool, "object": dict, "array": list, "null": type(None)}
CHECKED = {
    *("type", "enum", "const", "anyOf", "$ref", "properties", "required", "additionalProperties", "items", "minItems"),
    *("maxItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"),
    *("pattern",),
}
SAID = {"$schema", "$defs", "title", "description", "default", "format", "contentEncoding", "x-unit"}


def is_of(data: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        return not isinstance(data, bool) and isinstance(data, int if kind == "integer" else (int, float))
    return isinstance(data, TYPES[kind])


def fault(data: Any, schema: dict[str, Any], definitions: dict[str, Any]) -> str | None:
    """Why plain data does not match a schema; None if it does."""
    assert schema.keys() <= CHECKED | SAID, schema.keys()

    def within(data: Any, schema: dict[str, Any]) -> str | None:
        return fault(data, schema, definitions)

    if "$ref" in schema and (why := within(data, definitions[schema["$ref"].removeprefix("#/$defs/")])):
        return why
    if "anyOf" in schema and all(within(data, choice) for choice in schema["anyOf"]):
        return f"{data!r} is none of {schema['anyOf']}"
    if "type" in schema and not is_of(data, schema["type"]):
        return f"{data!r} is no {schema['type']}"
    if data not in schema.get("enum", [data]) or data != schema.get("const", data):
        return f"{data!r} is not in {schema}"
    if isinstance(data, dict):
        known = schema.get("properties", {})
        if missing := set(schema.get("required", ())) - data.keys():
            return f"{missing} are missing"
        others = schema.get("additionalProperties", True)
        for name, each in data.items():
            if name not in known and others is False:
                return f"{name} is unknown"
            inner = known.get(name, others)
            if isinstance(inner, dict) and (why := within(each, inner)):
                return f"{name}: {why}"
    if isinstance(data, list):
        if not schema.get("minItems", 0) <= len(data) <= schema.get("maxItems", len(data)):
            return f"{len(data)} items"
        return next((why for each in data if (why := within(each, schema.get("items", {})))), None)
    if isinstance(data, str):
        if not schema.get("minLength", 0) <= len(data) <= schema.get("maxLength", len(data)):
            return f"{len(data)} characters"
        return None if re.search(schema.get("pattern", ""), data) else f"{data!r} does not match {schema['pattern']}"
    if isinstance(data, (int, float)) and not isinstance(data, bool):
        holds = (
            schema.get("minimum", data) <= data <= schema.get("maximum", data)
            and ("exclusiveMinimum" not in schema or data > schema["exclusiveMinimum"])
            and ("exclusiveMaximum" not in schema or data < schema["exclusiveMaximum"])
            and not ("multipleOf" in schema and data % schema["multipleOf"])
        )
        return None if holds else f"{data} is beyond {schema}"
    return None
