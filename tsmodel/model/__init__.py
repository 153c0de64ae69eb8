"""Typed models: the field types, the metaclass, columns and the conditions made from them."""

from tsmodel.model.base import TSModel
from tsmodel.model.columns import Column
from tsmodel.model.expressions import Expression
from tsmodel.model.fields import (
    Bool,
    FieldType,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    Timestamp,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    field,
)
from tsmodel.model.meta import TSModelMeta

__all__ = [
    "Bool",
    "Column",
    "Expression",
    "FieldType",
    "Float32",
    "Float64",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "TSModel",
    "TSModelMeta",
    "Timestamp",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "field",
]
