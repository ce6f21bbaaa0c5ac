"""Choose the planes of a file with several channels or time points, or with a depth that has another name."""

from __future__ import annotations

from dataclasses import dataclass

from minivess.errors import InputError

#: Axes that are depth: Z, and those that tifffile does not know.
_DEPTH = "ZIQ"


@dataclass(frozen=True)
class Planes:
    """Which planes of a file are read.

    Attributes:
        channel: Channel, from 1; None where the file has one.
        time: Time point, from 1; None where the file has one.
        depth_axis: Axis that is the depth, when the file calls it otherwise: ``Z``, ``T`` or ``C``.
    """

    channel: int | None = None
    time: int | None = None
    depth_axis: str = "Z"

    def check(self) -> None:
        """Check what does not depend on a file.

        Raises:
            InputError: When the depth axis is none, or a number is below 1.
        """
        if self.depth_axis not in ("Z", "T", "C"):
            raise InputError(f"The depth axis is Z, T or C. Got {self.depth_axis[:10]!r}.")
        for name, number in (("channel", self.channel), ("time point", self.time)):
            if number is not None and number < 1:
                raise InputError(f"The first {name} is 1. Got {number}.")

    def index_of(self, axes: str, shape: tuple[int, ...], source: str) -> tuple[int | slice, ...]:
        """Return the index into the array of a file that leaves depth, rows and columns.

        Args:
            axes: A letter for each axis, as tifffile names them.
            shape: Length of each axis.
            source: Name of the file, for the message.

        Raises:
            InputError: When a channel or time point must be chosen, or does not exist.
        """
        self.check()
        chosen = {"C": self.channel, "T": self.time}
        chosen.pop(self.depth_axis, None)
        index: list[int | slice] = []
        depth: list[str] = []
        for axis, length in zip(axes, shape, strict=True):
            if axis in chosen and (number := chosen[axis]) is not None:
                index.append(_checked(number, length, axis, source))
            elif axis in "YX":
                index.append(slice(None))
            elif length == 1:
                index.append(0)
            elif axis == self.depth_axis or (axis in _DEPTH and self.depth_axis == "Z"):
                depth.append(axis)
                index.append(slice(None))
            else:
                raise InputError(f"{source}: {_several(axis, length, dict(zip(axes, shape, strict=True)))}")
        if len(depth) > 1:
            raise InputError(f"{source}: a stack has one depth axis. Got axes {dict(zip(axes, shape, strict=True))}.")
        self.refuse_others(source, having=axes)
        return tuple(index)

    def refuse_others(self, source: str, *, having: str = "") -> None:
        """Refuse a channel or a time point that a file does not have.

        Args:
            source: Name of the file, for the message.
            having: The axes that it has, and that were looked at.

        Raises:
            InputError: When another one than the first is chosen.
        """
        for axis, number in (("C", self.channel), ("T", self.time)):
            if number is not None and axis not in having:
                _checked(number, 1, axis, source)


#: All planes of a file with one channel and one time point.
ALL_PLANES = Planes()


def _checked(number: int, length: int, axis: str, source: str) -> int:
    if not 1 <= number <= length:
        what = "channels" if axis == "C" else "time points"
        raise InputError(f"{source}: the file has {length} {what}. Got number {number}; they count from 1.")
    return number - 1


def _several(axis: str, length: int, axes: dict[str, int]) -> str:
    if axis == "S":
        return f"colour images cannot be read. Got axes {axes}. Save one channel in grey."
    if axis in "CT":
        what, option = ("channels", "channel") if axis == "C" else ("time points", "time")
        return (
            f"the file has {length} {what}; one channel and one time point are read. Got axes {axes}. Choose one: --{option} 1 "
            f"to {length}; or, when they are the depth of the stack: --depth-axis {axis}."
        )
    return f"a TIFF file must contain one channel and one time point. Got axes {axes}."
