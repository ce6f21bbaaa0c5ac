"""A synthetic stack for a first try, in Slicer's Sample Data module. It is part of the extension: nothing is downloaded."""

from pathlib import Path

NAME = "MinIVessSynthetic"
SHA256 = "e963259fe9eb20f61e28cb532abf7eed0325d321f64559b39ed4f236e7a2afff"  # tools/slicer_sample.py makes it and prints this


def register(resources):
    """Add it to the Sample Data module."""
    import SampleData  # exists after Slicer has started

    resources = Path(resources)
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="MinIVess",
        sampleName=NAME,
        thumbnailFileName=str(resources / "Icons" / f"{NAME}.png"),
        uris=(resources / "SampleData" / f"{NAME}.nrrd").resolve().as_uri(),
        fileNames=f"{NAME}.nrrd",
        nodeNames=NAME,
        loadFileType="VolumeFile",
        checksums=f"SHA256:{SHA256}",
    )
