"""Replacement for ``pydicom-seg``, which MONAI Label 0.8.5 imports but which cannot be imported with pydicom 3.

It must be a real module, because MONAI Label starts background tasks in new processes, in which an alias in
``sys.modules`` does not exist.
"""

from pydicom_seg_rb import MultiClassReader, MultiClassWriter, SegmentReader, template

__all__ = ["MultiClassReader", "MultiClassWriter", "SegmentReader", "template"]
