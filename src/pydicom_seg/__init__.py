"""Stand-in for ``pydicom-seg``, which MONAI Label 0.8.5 imports but which does not import under pydicom 3.

It must be a real module: MONAI Label starts its background work in new processes, where an alias in
``sys.modules`` would be gone.
"""

from pydicom_seg_rb import MultiClassReader, MultiClassWriter, SegmentReader, template

__all__ = ["MultiClassReader", "MultiClassWriter", "SegmentReader", "template"]
