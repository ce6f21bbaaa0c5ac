"""Read and write MetaImage (``.mha``, and ``.mhd`` with its ``.raw``), the format of ITK and VTK, with SimpleITK."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from minivess.errors import InputError, UnsafeFileError
from minivess.paths import atomic_file
from minivess.volume.checks import check_budget, check_enough_bytes, check_three_axes
from minivess.volume.units import Unit
from minivess.volume.volume import Volume

_HEADER_BYTES = 65_536
_PART_BYTES = 1 << 20
_ITEM_BYTES = {
    "CHAR": 1,
    "UCHAR": 1,
    "SHORT": 2,
    "USHORT": 2,
    "INT": 4,
    "UINT": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
    "LONG": 8,
    "ULONG": 8,
    "LONG_LONG": 8,
    "ULONG_LONG": 8,
}
_KEY, _VALUE = re.compile(r"[^:\x00-\x1f]+"), re.compile(r"[^\x00-\x08\x0a-\x1f]*")
_UNIT_FROM_TEXT: dict[str, Unit] = {"mm": "mm", "um": "um"}


def read_metaimage(path: Path, *, unit: Unit | None = None, limit_bytes: int) -> Volume:
    """Read a MetaImage volume.

    Args:
        path: ``.mha``, or ``.mhd`` whose voxels are in the file of the same name with the suffix .raw or .zraw beside it.
        unit: Unit of the spacing; it overrides ``DistanceUnits`` of the header. Without both it is mm, as for ITK.
        limit_bytes: Maximum size of the decoded array.

    Raises:
        InputError: When the file is not MetaImage, is damaged or does not have three axes of grey values.
        UnsafeFileError: When its header names any other file, or claims more than the limit or than the file can hold.
    """
    source = path.name
    header = _header(path)
    voxels = _voxel_file(path, header.get("ElementDataFile", ""))
    shape = tuple(int(text) for text in header.get("DimSize", "").split())
    check_three_axes(shape, source=source)
    if header.get("ElementNumberOfChannels", "1") != "1":
        raise InputError(f"{source}: the voxels must be single numbers. Got {header['ElementNumberOfChannels']} channels.")
    kind = header.get("ElementType", "").removeprefix("MET_")
    if kind not in _ITEM_BYTES:
        raise InputError(
            f"{source}: unknown ElementType {header.get('ElementType', '')[:20]!r}. Allowed: {', '.join(_ITEM_BYTES)}."
        )
    claimed = check_budget(shape, _ITEM_BYTES[kind], limit_bytes=limit_bytes, source=source)
    stated_compression = header.get("CompressedData", "False").lower()
    if stated_compression not in ("true", "false"):  # ITK reads the first letter, others what they like
        raise InputError(f"{source}: CompressedData is {stated_compression[:20]!r}. Allowed: True, False.")
    compressed = stated_compression == "true"
    check_enough_bytes(claimed, voxels.stat().st_size, compressed=compressed, source=source)
    if compressed:
        _check_stream(voxels, header, claimed, source=source)
    try:
        image = sitk.ReadImage(str(path), imageIO="MetaImageIO")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][:200]
        raise InputError(
            f"{source}: the voxels cannot be read ({reason}). The file is cut off or damaged: copy it again."
        ) from error
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)[:3, :3] * image.GetSpacing()[:3]
    lps[:3, 3] = image.GetOrigin()[:3]
    array = sitk.GetArrayFromImage(image).transpose()
    stated = _UNIT_FROM_TEXT.get(header.get("DistanceUnits", "mm").lower())
    if unit is None and stated is None:
        raise InputError(f"{source}: DistanceUnits is {header['DistanceUnits'][:20]!r}. Pass unit='mm' or unit='um' (--unit um).")
    return Volume(array.reshape(shape[:3]), np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps, unit or stated or "mm")


def _check_stream(voxels: Path, header: dict[str, str], claimed: int, *, source: str) -> None:
    """Decompress the voxels once in small parts: on a stream that is damaged or too short, ITK's reader never ends.

    Args:
        voxels: The file with the compressed voxels.
        header: The header.
        claimed: Bytes that it claims.
        source: Name of the file, for messages.

    Raises:
        InputError: When fewer bytes than claimed can be decompressed.
    """
    size = header.get("CompressedDataSize", "")
    left = int(size) if size.isdecimal() else voxels.stat().st_size
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # zlib or gzip
    found = 0
    with voxels.open("rb") as file:
        while header["ElementDataFile"] == "LOCAL" and file.readline().split(b"=")[0].strip() != b"ElementDataFile":
            pass
        try:
            while found < claimed and not stream.eof:
                part = stream.unconsumed_tail
                if not part:
                    part = file.read(min(left, _PART_BYTES))
                    left -= len(part)
                if not part:
                    break
                found += len(stream.decompress(part, _PART_BYTES))
        except zlib.error as error:
            raise InputError(f"{source}: the compressed voxels are damaged ({error}). Copy the file again.") from error
    if found < claimed:
        raise InputError(
            f"{source}: {claimed} bytes of voxels are claimed, {found} can be decompressed. It is cut off: copy it again."
        )


def _header(path: Path) -> dict[str, str]:
    """Read the header: ``key = value`` lines, of which ElementDataFile is the last.

    ITK reads the file again by its own rules: it takes ``:`` for ``=``, and the last of several lines with one key. What it could
    read in another way is refused, or it would open files that were not checked.
    """
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        for line in stream.read(_HEADER_BYTES).split(b"\n"):
            key, separator, value = line.decode("latin-1").partition("=")
            key, value = key.strip(), value.strip()
            if not separator:
                break
            if key in fields or not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
                raise UnsafeFileError(f"{path.name}: its header has a line that can be read in two ways. Save the file again.")
            fields[key] = value
            if key == "ElementDataFile":
                return fields
    raise InputError(f"{path.name}: the file has no MetaImage header. It is damaged or has another format.")


def _voxel_file(path: Path, named: str) -> Path:
    """Return the file with the voxels: the file itself, or the one that belongs to a ``.mhd`` by its name."""
    if named == "LOCAL":
        return path
    own = [f"{path.stem}{suffix}" for suffix in (".raw", ".zraw")]
    beside = path.with_name(named) if named in own else None
    if path.suffix.lower() != ".mhd" or beside is None or beside.is_symlink() or not beside.is_file():
        raise UnsafeFileError(
            f"{path.name}: the header names another file ({named[:60]!r}). A .mha contains its voxels; those of a .mhd are in "
            f"{' or '.join(own)} beside it. Save it as one .mha file."
        )
    return beside


def write_metaimage(volume: Volume, path: Path) -> None:
    """Write a volume as compressed ``.mha``, in mm as ITK expects it.

    Args:
        volume: Volume to write; booleans are stored as uint8, float16 as float32.
        path: File to write.

    Raises:
        InputError: When the suffix is ``.mhd``, which consists of two files.
        OutputError: When the file cannot be written.
    """
    if path.suffix.lower() == ".mhd":
        raise InputError(f"{path.name}: a .mhd consists of two files. Write .mha.")
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    image = sitk.GetImageFromArray(
        np.ascontiguousarray((array.astype(np.float32) if array.dtype == np.float16 else array).transpose())
    )
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.in_unit("mm").affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    with atomic_file(path) as temporary:
        sitk.WriteImage(image, str(temporary.with_suffix(".mha")), useCompression=True)  # it knows no .MHA
        temporary.with_suffix(".mha").rename(temporary)
