"""`Reading.fingerprint`: the same digits wherever records are the same bytes with the same meaning."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from tsmodel.model.schema import Schema

__all__ = ["description_of", "fingerprint_of"]

_DIGITS: Final = 16
_FORM: Final = "tsmodel 1"
"""Goes in first: should descriptions ever change, so does this, and no two fingerprints are equal by chance."""


def description_of(schema: Schema) -> dict[str, Any]:
    """What fingerprints are made of: the layout, and the key components that the class fixes."""
    return {"key": dict(sorted(schema.fixed.items())), **schema.layout.description()}


def fingerprint_of(schema: Schema) -> str:
    """The first 16 hexadecimal digits of a SHA-256 over a schema's description as canonical JSON."""
    text = json.dumps([_FORM, description_of(schema)], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
