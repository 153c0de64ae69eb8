"""Byte layouts and the codecs compiled from them. No I/O, no models."""

from tsmodel.codec.fitting import Fit, Misfit
from tsmodel.codec.layout import Layout, LayoutField
from tsmodel.codec.rows import KEY_SCALARS, RowCodec
from tsmodel.codec.scalars import SCALARS, ByteOrder, Scalar

__all__ = ["KEY_SCALARS", "SCALARS", "ByteOrder", "Fit", "Layout", "LayoutField", "Misfit", "RowCodec", "Scalar"]
