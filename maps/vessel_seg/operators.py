"""The three operators of the application. Each receives, makes one library call, and emits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.deploy.core import ExecutionContext, Fragment, InputContext, Operator, OperatorSpec, OutputContext

from minivess.dicom import Series, write_seg
from minivess.dicom.derived import Derivation
from minivess.dicom.measurements import write_measurements
from minivess.dicom.report import write_report
from minivess.dicom.secondary_capture import write_pictures
from minivess.dicom.uncertainty_map import write_uncertainty_map
from minivess.metrics.morphology import measure_vessels
from minivess.models import Segmenter
from minivess.uncertainty.quality import quality_of
from outputs import Outputs


class SeriesSource(Operator):
    """Emit the DICOM series into the graph."""

    def __init__(self, fragment: Fragment, *args: Any, series: Series, **kwargs: Any) -> None:
        """Store the series.

        Args:
            fragment: The application.
            *args: Conditions of the operator.
            series: The series, which was read and checked.
            **kwargs: Passed on to the SDK.
        """
        self.series = series
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the output: the series."""
        spec.output("series")

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        """Emit the series.

        Args:
            op_input: Inputs of the operator; it has none.
            op_output: Receives the series.
            context: Not used.
        """
        op_output.emit(self.series, "series")


class VesselSegmenter(Operator):
    """Segment the vessels of a series."""

    def __init__(self, fragment: Fragment, *args: Any, segmenter: Segmenter, **kwargs: Any) -> None:
        """Store the model.

        Args:
            fragment: The application.
            *args: Conditions of the operator.
            segmenter: The loaded model.
            **kwargs: Passed on to the SDK.
        """
        self.segmenter = segmenter
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the input, a series, and the output: the series with its prediction."""
        spec.input("series")
        spec.output("result")

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        """Predict the series and emit it with its prediction.

        Args:
            op_input: Holds the series.
            op_output: Receives series and prediction.
            context: Not used.
        """
        series = op_input.receive("series")
        op_output.emit((series, self.segmenter.predict(series.volume)), "result")


class ResultWriter(Operator):
    """Write the DICOM SEG, what is asked for beside it, and the report."""

    def __init__(
        self, fragment: Fragment, *args: Any, folder: Path, bundle: Path, modality: str, outputs: Outputs, **kwargs: Any
    ) -> None:
        """Store the settings.

        Args:
            fragment: The application.
            *args: Conditions of the operator.
            folder: Existing folder for the results.
            bundle: The bundle's folder, for the expected quality.
            modality: Modality that the model was trained for, for the report.
            outputs: What is written beside result.json.
            **kwargs: Passed on to the SDK.
        """
        self.folder = folder
        self.bundle = bundle
        self.modality = modality
        self.outputs = outputs
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the input: a series with its prediction."""
        spec.input("result")

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        """Write the files.

        Args:
            op_input: Holds series and prediction.
            op_output: Outputs of the operator; it has none.
            context: Not used.
        """
        series, prediction = op_input.receive("result")
        mask, folder = prediction.mask, self.folder
        derivation = Derivation.of(mask.array, series, prediction.model, prediction.threshold)
        seg = write_seg(
            mask,
            series,
            prediction.model,
            folder / "vessels.seg.dcm",
            threshold=prediction.threshold,
            kind=self.outputs.seg_type,
            probability=prediction.probability,
        )
        measured = measure_vessels(mask.array, series.volume.spacing_um)
        files = [seg]
        if self.outputs.uncertainty:
            files.append(write_uncertainty_map(prediction.uncertainty, derivation, folder / "uncertainty.dcm"))
        if self.outputs.measurements:
            files.append(write_measurements(measured, seg, derivation, folder / "measurements.sr.dcm"))
        if self.outputs.pictures:
            files += write_pictures(mask, derivation, folder)
        expected = quality_of(self.bundle, prediction, measured)
        quality = expected.to_json() if expected else None
        write_report(
            folder / "result.json", series, prediction, files=files, measured=measured, modality=self.modality, quality=quality
        )
