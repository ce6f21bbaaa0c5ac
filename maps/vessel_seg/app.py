"""Vessel segmentation as a MONAI Deploy application: a DICOM series in, a DICOM SEG and a report out."""

from __future__ import annotations

import sys
from pathlib import Path

from holoscan.conditions import CountCondition
from monai.deploy.core import Application

from minivess.dicom.series import Series
from minivess.models import load_bundle
from minivess.uncertainty.quality import read_quality
from operators import ResultWriter, SeriesSource, VesselSegmenter
from outputs import Outputs


class VesselSegApp(Application):
    """Segment a series, write the results."""

    def __init__(self, *, series: Series, output_path: Path, bundle: Path, outputs: Outputs) -> None:
        """Load the model, before the graph starts.

        Args:
            series: The series, which was read and checked.
            output_path: Existing folder for the results.
            bundle: The bundle's folder.
            outputs: What is written beside result.json.

        Raises:
            MinivessError: When the model cannot be loaded.
        """
        super().__init__(argv=[sys.executable, __file__])  # the arguments are parsed in command.py, not by Holoscan
        self.series = series
        self.output_path = output_path
        self.outputs = outputs
        self.bundle = bundle
        self.segmenter = load_bundle(bundle)
        read_quality(bundle, self.segmenter.model.weights_sha256)  # a damaged file is refused now, not after the work

    def compose(self) -> None:
        """Connect the operators."""
        once = CountCondition(self, 1, name="once")  # the source has no input, so it needs a condition to run only once
        source = SeriesSource(self, once, series=self.series, name="series_source")
        segmenter = VesselSegmenter(self, segmenter=self.segmenter, name="vessel_segmenter")
        modality = self.segmenter.capabilities.modality
        writer = ResultWriter(
            self,
            folder=self.output_path,
            bundle=self.bundle,
            modality=modality,
            outputs=self.outputs,
            name="result_writer",
        )
        self.add_flow(source, segmenter, {("series", "series")})
        self.add_flow(segmenter, writer, {("result", "result")})
