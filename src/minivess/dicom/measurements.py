"""Write measurements of vessels as a DICOM Structured Report after TID 1500 (PS3.16)."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import pydicom
from pydicom.sr.codedict import codes

from minivess.dicom.derived import MANUFACTURER, NOTICE, Derivation
from minivess.dicom.seg import BLOOD_VESSEL
from minivess.metrics.morphology import Morphology
from minivess.paths import atomic_file

_MM3 = hd.sr.CodedConcept("mm3", "UCUM", "cubic millimeter")
_MM = hd.sr.CodedConcept("mm", "UCUM", "millimeter")
_COUNT = hd.sr.CodedConcept("1", "UCUM", "no units")
_BRANCH_POINTS = hd.sr.CodedConcept("BranchPoints", "99MINIVESS", "Number of branch points")
_PIECES = hd.sr.CodedConcept("Components", "99MINIVESS", "Number of separate pieces")
_LIMITATION = hd.sr.CodedConcept("Limitation", "99MINIVESS", "Limitation")
_RESEARCH = hd.sr.CodedConcept("ResearchOnly", "99MINIVESS", "For research use only; not a medical device")


def write_measurements(morphology: Morphology, seg: Path, derivation: Derivation, path: Path) -> Path:
    """Write the measurements of a segmentation, with references to it and to the images.

    Args:
        morphology: The measurements.
        seg: The SEG that was measured.
        derivation: Of its mask.
        path: File to write.

    Returns:
        The path.

    Raises:
        OutputError: When the file cannot be written.
    """
    segmentation = pydicom.dcmread(seg)
    instance = derivation.instance("measurements", 1002, about=str(segmentation.SOPInstanceUID))
    equipment = {key: instance.pop(key) for key in ("manufacturer_model_name", "software_versions", "device_serial_number")}
    result = hd.sr.Comprehensive3DSR(
        evidence=[*derivation.sources, segmentation],
        content=_report(morphology, segmentation, derivation)[0],
        series_description=f"Measurements of vessels ({NOTICE})",
        is_complete=True,
        **instance,
    )
    result.ManufacturerModelName = equipment["manufacturer_model_name"]
    result.SoftwareVersions = equipment["software_versions"]
    result.DeviceSerialNumber = equipment["device_serial_number"]
    derivation.finish(result, "measurements")
    with atomic_file(path) as temporary:
        result.save_as(temporary, enforce_file_format=True)
    return path


def _report(morphology: Morphology, segmentation: pydicom.Dataset, derivation: Derivation) -> hd.sr.MeasurementReport:
    """Return the content of the report: who measured what, where, and the numbers (PS3.16, TID 1500)."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(uid=derivation.device_uid, manufacturer_name=MANUFACTURER)
    context = hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    )
    segment = hd.sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=1,
        source_series=hd.sr.SourceSeriesForSegmentation(derivation.series.uid),
    )
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=derivation.uid("tracking"), identifier="vessel"),
        referenced_segment=segment,
        finding_type=BLOOD_VESSEL,
        algorithm_id=_algorithm(derivation),
        measurements=_measurements(morphology),
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(name=_LIMITATION, value=_RESEARCH)],
    )
    return hd.sr.MeasurementReport(
        observation_context=context,
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[group],
        # highdicom describes images of one frame only
        referenced_images=derivation.sources if derivation.series.multiframe is None else None,
    )


def _measurements(morphology: Morphology) -> list[hd.sr.Measurement]:
    rows = (
        (codes.SCT.Volume, morphology.volume_mm3, _MM3),
        (codes.SCT.Length, morphology.length_mm, _MM),
        (codes.SCT.Diameter, morphology.mean_diameter_mm, _MM),
        (_BRANCH_POINTS, morphology.branch_points, _COUNT),
        (_PIECES, morphology.components, _COUNT),
    )
    mean = {codes.SCT.Diameter: codes.SCT.Mean}
    return [hd.sr.Measurement(name=name, value=float(value), unit=unit, derivation=mean.get(name)) for name, value, unit in rows]


def _algorithm(derivation: Derivation) -> hd.sr.AlgorithmIdentification | None:
    model = derivation.model
    if model is None:
        return None
    parameters = [f"{name}={value}" for name, value in derivation.algorithm_parameters.items()]
    return hd.sr.AlgorithmIdentification(name=model.bundle, version=model.version, parameters=parameters)
