"""What all objects that are derived from a series have in common: UIDs of their content, headers, the maker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.sr.codedict import codes
from pydicom.uid import UID, generate_uid

import minivess
from minivess.dicom.multiframe import join_frames
from minivess.dicom.series import Series
from minivess.dicom.source_header import OF_THE_PATIENT, clean_text, source_headers

if TYPE_CHECKING:  # a refusal of a series must not wait for torch
    from minivess.models import ModelRef

RLELosslessEncoder.remove_plugin("gdcm")  # it aborts the process at frames of an odd number of pixels
MANUFACTURER = "MinIVess"
NOTICE = "AI, research use only"
_LARGEST_NUMBER = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Derivation:
    """The derivation of objects from a series by one mask; all of them are in one new series for each modality.

    Attributes:
        series: The source.
        model: Model that made the mask; None when an annotator drew or accepted it.
        content: Hash of what the mask and the threshold are: the same hash is the same content.
        headers: Headers of the source images or frames, in the order of the volume's slices.
    """

    series: Series
    model: ModelRef | None
    content: str
    headers: list[pydicom.Dataset]

    @staticmethod
    def of(mask: NDArray[Any], series: Series, model: ModelRef | None, threshold: float | None = None) -> Derivation:
        """Describe a derivation.

        Args:
            mask: (x, y, z) on the grid of the series, vessel above 0.
            series: The source.
            model: Model that made the mask; None for an annotator.
            threshold: Probability from which the model's voxels count as vessel.
        """
        voxels = sha256(np.packbits(mask > 0).tobytes()).hexdigest()
        parts = [series.uid, *(str(d.SOPInstanceUID) for d in series.in_volume_order()), voxels, minivess.__version__]
        parts += [model.weights_sha256, model.version, *filter(None, [model.release])] if model is not None else ["manual"]
        parts += ["" if threshold is None else repr(threshold)]
        headers, _ = source_headers(series.in_volume_order(), series.slice_spacing_mm)
        return Derivation(series, model, sha256("\0".join(parts).encode()).hexdigest(), headers)

    @cached_property
    def sources(self) -> list[pydicom.Dataset]:
        """Headers of the files that an object is derived from, for the constructors of highdicom."""
        if self.series.multiframe is None:
            return self.headers
        return [join_frames([self.headers[i] for i in self._file_order], self.series.multiframe)]

    def frames(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the frames (frame, row, column) of an array (x, y, z) on the grid of the series, in the order of its sources."""
        slices = array.transpose(2, 1, 0)
        return np.ascontiguousarray(slices if self.series.multiframe is None else slices[self._file_order])

    @cached_property
    def _made(self) -> datetime:
        """The same for all objects: those of one series have one date and time."""
        return datetime.now()

    @cached_property
    def _file_order(self) -> NDArray[np.int64]:
        """The slices of the volume in the order of the frames of a multi-frame image."""
        return np.argsort([int(image.InstanceNumber) for image in self.series.in_volume_order()])

    def uid(self, what: str) -> UID:
        """Return the UID of an object or a series of this derivation."""
        return generate_uid(entropy_srcs=[self.content, what])

    @staticmethod
    def hash_of(values: NDArray[Any]) -> str:
        """Return a hash of values that the mask does not determine: other values have another UID."""
        return sha256(np.ascontiguousarray(values).tobytes()).hexdigest()

    def instance(self, what: str, number: int, *, about: str = "") -> dict[str, Any]:
        """Return series, instance and equipment for the constructors of highdicom.

        Args:
            what: Name of the object; each has a series of its own, since a series has one modality.
            number: Added to the SeriesNumber of the source.
            about: What else it is of, beside the mask: SOPInstanceUID of another derived object, :meth:`hash_of` its values.
        """
        name, version = (
            (self.model.bundle, self.model.version) if self.model is not None else ("label server", minivess.__version__)
        )
        return {
            "series_instance_uid": self.uid(f"{what} series"),
            "series_number": min(int(self.sources[0].SeriesNumber) + number, _LARGEST_NUMBER),
            "sop_instance_uid": self.uid(f"{what} instance {about}".rstrip()),
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": name,
            "software_versions": [  # highdicom asks for a tuple, which pydicom takes for one value and warns
                f"minivess {minivess.__version__}",
                f"bundle {version}",
                *([f"release {self.model.release}"] if self.model is not None and self.model.release else ()),
            ],
            "device_serial_number": (self.model.weights_sha256 if self.model is not None else self.content)[:16],
        }

    @property
    def device_uid(self) -> UID:
        """UID of the device that observed: the program with its model, the same for all series."""
        model = self.model.weights_sha256 if self.model is not None else "manual"
        return generate_uid(entropy_srcs=[MANUFACTURER, minivess.__version__, model])

    def pixel_measures(self) -> hd.PixelMeasuresSequence:
        """Return spacings as the positions of the images say, whatever the source states."""
        first = self.headers[0]
        return hd.PixelMeasuresSequence(
            pixel_spacing=[float(v) for v in first.PixelSpacing],
            slice_thickness=float(first.SliceThickness),
            spacing_between_slices=round(self.series.slice_spacing_mm, 9),
        )

    def finish(self, dataset: pydicom.Dataset, what: str) -> None:
        """Add what highdicom does not: all of patient and study, body part, date of the series, and UIDs of the dimensions.

        Args:
            dataset: The derived object.
            what: Name of the object.
        """
        header = self.headers[0]
        for keyword in OF_THE_PATIENT:
            if keyword in header and keyword not in dataset:
                dataset[keyword] = header[keyword]
        body_part, _ = clean_text(self.series.datasets[0], "BodyPartExamined")
        if body_part:
            dataset.BodyPartExamined = body_part
        dataset.SeriesDate, dataset.SeriesTime = self._made.strftime("%Y%m%d"), self._made.strftime("%H%M%S")
        for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
            for item in dataset.get(keyword, ()):
                item.DimensionOrganizationUID = self.uid(f"{what} dimensions")

    @property
    def algorithm_parameters(self) -> dict[str, str]:
        """What identifies the model beside its name and version: the hash of its weights, and its release where it has one."""
        if self.model is None:
            return {}
        released = {"release": self.model.release} if self.model.release else {}
        return {"weights_sha256": self.model.weights_sha256, **released}

    def algorithm(self) -> hd.AlgorithmIdentificationSequence | None:
        """Return the identification of the model, with the hash of its weights; None for an annotator."""
        if self.model is None:
            return None
        return hd.AlgorithmIdentificationSequence(
            name=self.model.bundle,
            family=codes.DCM.ArtificialIntelligence,
            version=f"{self.model.version} ({self.model.weights_sha256[:12]})",
            source=MANUFACTURER,
            parameters=self.algorithm_parameters,
        )
