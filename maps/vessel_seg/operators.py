"""The three steps of the application: receive, one library call, emit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.deploy.core import ExecutionContext, Fragment, InputContext, Operator, OperatorSpec, OutputContext

from minivess.dicom import read_series, write_seg
from minivess.dicom.report import write_report
from minivess.models import Segmenter


class SeriesReader(Operator):
    """Read the one DICOM series of the input folder."""

    def __init__(self, fragment: Fragment, *args: Any, folder: Path, **kwargs: Any) -> None:
        """Take the input folder."""
        self.folder = folder
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Give a series."""
        spec.output("series")

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        """Read it."""
        op_output.emit(read_series(self.folder), "series")


class VesselSegmenter(Operator):
    """Segment the vessels of a series."""

    def __init__(self, fragment: Fragment, *args: Any, segmenter: Segmenter, **kwargs: Any) -> None:
        """Take the model."""
        self.segmenter = segmenter
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Take a series, give it with its prediction."""
        spec.input("series")
        spec.output("result")

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        """Predict."""
        series = op_input.receive("series")
        op_output.emit((series, self.segmenter.predict(series.volume)), "result")


class ResultWriter(Operator):
    """Write the SEG and the report."""

    def __init__(self, fragment: Fragment, *args: Any, folder: Path, modality: str, **kwargs: Any) -> None:
        """Take the output folder and what the model was made for."""
        self.folder = folder
        self.modality = modality
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Take a series with its prediction."""
        spec.input("result")

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        """Write both."""
        series, prediction = op_input.receive("result")
        seg = write_seg(prediction.mask, series, prediction.model, self.folder / "vessels.seg.dcm")
        write_report(self.folder / "result.json", series, prediction, seg=seg, modality=self.modality)
