"""Typed models: the base classes, `field()`, and columns with the conditions built from them."""

from tsmodel.model.column import Column, IntColumn
from tsmodel.model.expressions import Expression
from tsmodel.model.field import field, padding
from tsmodel.model.meta import TSModelMeta
from tsmodel.model.model import TSModel, TSStruct

__all__ = ["Column", "Expression", "IntColumn", "TSModel", "TSModelMeta", "TSStruct", "field", "padding"]
