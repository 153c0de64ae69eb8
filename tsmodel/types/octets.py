"""What field types of so many bytes have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from tsmodel.types.arrow import decoded, is_binary, padded_octets
from tsmodel.types.base import FixedCodec, Structures
from tsmodel.types.scalars import ByteOrder
from tsmodel.types.storing import opaque

if TYPE_CHECKING:
    from tsmodel.types.kinds import Kind

__all__ = ["OctetsCodec"]


class OctetsCodec(FixedCodec):
    """A field of so many bytes, without a byte order."""

    byte_order: ByteOrder = "little"

    fills: ClassVar[bool] = False
    """Whether fewer bytes are filled up with NUL."""

    @property
    def code(self) -> str:
        return f"{self.size}s"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"V{self.size}")

    @abstractmethod
    def load(self, stored: Any) -> Any: ...

    @abstractmethod
    def dump(self, value: Any) -> Any: ...

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        return opaque(self, values)

    def arrow_type(self, pa: Any) -> Any:
        return pa.binary(self.size)

    def from_arrow(self, pa: Any, array: Any) -> npt.NDArray[Any]:
        """See `FixedCodec.from_arrow`: bytes, too."""
        array = decoded(pa, array)
        if is_binary(pa, array.type):
            return padded_octets(array.cast(pa.large_binary()), self.size, exact=not self.fills)
        return super().from_arrow(pa, array)

    def declared(self, structures: Structures) -> Kind:
        from tsmodel.types.kinds import Octets

        return Octets(self.size, note=self.label, fills=self.fills)
