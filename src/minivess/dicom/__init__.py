"""Read DICOM series; write DICOM SEG, series and reports; access DICOMweb servers."""

from minivess.dicom.export import write_series
from minivess.dicom.seg import read_seg, write_seg
from minivess.dicom.series import Series, read_series

__all__ = ["Series", "read_seg", "read_series", "write_seg", "write_series"]
