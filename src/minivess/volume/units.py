"""The units of a volume's affine, and the conversion between mm and um."""

from __future__ import annotations

from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minivess.errors import InputError

Unit = Literal["mm", "um"]
#: Micrometres per unit: the only conversion factor between um and mm.
UM_PER_UNIT = {"um": 1.0, "mm": 1000.0}


def parse_unit(text: str) -> Unit:
    """Return the unit that a text names; micrometres may be written µm or micron, too.

    Raises:
        InputError: When the text names neither mm nor um.
    """
    unit = "um" if text in ("µm", "μm", "micron", "microns") else text
    if unit not in get_args(Unit):
        raise InputError(f"Unknown unit {text!r}. Allowed: mm, um.")
    return cast(Unit, unit)


def to_um(lengths: ArrayLike, unit: Unit) -> NDArray[np.float64]:
    """Return lengths in micrometres.

    Args:
        lengths: Lengths in ``unit``, of any shape.
        unit: ``"mm"`` or ``"um"``.

    Returns:
        Array of the same shape, float64, in um.
    """
    return np.asarray(lengths, dtype=np.float64) * UM_PER_UNIT[unit]
