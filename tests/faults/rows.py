"""Bad inputs and faults by number, as tests show them: `@pytest.mark.row(13)`; and the report made of their results."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

#: Number -> what is tried, right outcome.
ROWS = {
    1: ("ids that reach elsewhere", "400, nothing written, nothing changed"),
    2: ("content that is not what its name says", "415; the first bytes decide"),
    3: ("tags that reach elsewhere; ids that differ in case only", "400; 409"),
    4: ("params that are no JSON object, too deep, or NaN", "400 with the place, never 500"),
    5: ("values that begin with $, @ or % at any depth", "400, nothing evaluated"),
    6: ("a device or a model that is not there; a server path as image", "422; 404; 400, the file is not read"),
    7: ("an unknown image", "404, named"),
    8: ("no token, a wrong one, one of another kind", "401, one body for all"),
    9: ("what a role may not do; reload; proxy", "403 and an audit entry; 404"),
    10: ("a page of another origin", "no grant"),
    11: ("a network address without accounts", "exit 2, says what to do"),
    12: ("a body too large, silent, or of a lying length", "413; 408; 400"),
    13: ("an empty or cut off label", "422, nothing changed"),
    14: ("a label of another grid", "422 with both grids"),
    15: ("labels that are floats, negative, or of an unknown class", "422 with the values found"),
    16: ("a label of zeros", "422, unless it is stated"),
    17: ("headers that claim 24 GB; gzip bombs", "refused from the header or at the limit"),
    18: ("singular affines, sform against qform, no unit", "GeometryError that names the field"),
    19: ("NRRD headers that name another file", "refused before a reader opens it"),
    20: ("archives", "not unpacked"),
    21: ("NaN, 4-D, big-endian, int64", "refused with count and place, or works"),
    42: (
        "kill -9 at the write points of submitting and publishing, 200 rounds each",
        "old or new, every acknowledged label there",
    ),
    43: ("an index that is gone, empty, cut, foreign or noise", "made again from the files, and said"),
    44: ("ENOSPC, EIO, EROFS in the middle of submitting", "503 or 507, nothing changed, the next one works"),
    45: ("8 processes x 10 submissions", "80 revisions, 80 entries, the chain verifies"),
    46: ("one submission five times", "one revision, five equal answers"),
    47: ("two annotators from one base", "200 and 409, both kept, a decision is asked for"),
    48: ("two ask for the next case; one goes away", "different cases; the lease runs out"),
    49: ("the clock jumps back", "order by number"),
    50: ("the audit chain edited, cut, swapped, written anew", "the first bad entry is named"),
    51: (
        "a test case to learn from: the same file, renamed, re-compressed, converted, another of the same subject",
        "LockoutError, exit 1, audit entry",
    ),
    60: ("TIFF, NIfTI, NRRD, MetaImage cut off", "refused"),
    61: ("OME-TIFF, NRRD (any spelling), MetaImage that name another file", "refused, the other file is not opened"),
    62: ("NIfTI without codes; qform off by rounding beside a good sform", "laid where ITK lays it; the sform is used"),
    63: ("any changed byte in a header of any format", "our own error or a volume, within the limit"),
    64: ("finite values beyond float32", "422 with the value"),
    65: ("ImageJ spacing and unit; only z missing", "read; the message says that z is missing"),
    66: ("channels, time points, depth saved as time", "chosen by option, the refusal names it"),
    67: ("MHA and MHD", "read and written as ITK does"),
    68: (".seg.nrrd of Slicer: names, values, cropped extents, several segments", "by name, on the image's grid"),
    69: ("grids that differ by rounding", "one tolerance of 0.1 voxel, the message says by how much"),
    70: ("swapped, inverted, empty labels; one image under two names", "warned of; refused across sections"),
    71: ("a second `data make` over an edited file", "refused, nothing changed"),
    72: ("twins, unknown names, absurd spacings", "refused"),
    73: ("`--spacing` for a TIFF that states its own", "the stated one counts; a contradiction is refused"),
    74: (
        "pairs by pattern, masks saved as JPEG",
        "`--image-suffix`, `--label-suffix`, `--label-threshold`; the pairs are proposed",
    ),
    75: ("`data convert raw raw`; an existing target", "refused, the file is unchanged"),
    76: ("torch and MONAI to pair names", "not imported"),
    80: ("straight vessels of even thickness", "the centre-line is as long as the vessel; clDice 2/3"),
    81: ("rings, rings with a tail", "length of the ring, no free end; one free end"),
    82: ("validation cases without vessel", "count, by the function of evaluate"),
    83: ("zones of a sure model", "ordered by construction; the queue is not blind"),
    84: ("`train --resume` with more epochs", "goes on"),
    85: (
        "RealWorldValueMapping that differs from slice to slice; JPEG Lossless; SEG of other kinds",
        "stored values; decoded; refused in words",
    ),
    101: ("F1: `store repair` beside a running process", "refused; nothing lost"),
    102: ("F2: a program of another format", "refuses, changes nothing"),
    103: ("F3: a second server on the same studies or workspace", "refused"),
    105: ("F5: lone surrogates in params or info", "400; lists go on"),
    106: ("F6: values above float32 in the studies", "marked, others go on"),
    107: ("F7: an unknown NIfTI datatype in the studies", "marked, others go on"),
    108: ("F8: a file name that is not UTF-8", "skipped and said; the server starts"),
    109: ("F9: 600 half requests without a token", "closed after 15 s; others are answered; the log does not grow"),
    110: ("F10: many clients ask /readyz", "others are answered"),
    111: ("F11: prompts are jobs", "listed, stopped, end after 60 s"),
    112: ("F12: a label that claims far more than its image", "refused from the header"),
    113: ("F13: accepted voxels under an overlapping region", "stay"),
    114: ("F14: events, labels, actors, subjects changed by hand", "found by verify and repair; a changed label is not served"),
    116: ("F16: a multipart form with the boundary of another request", "read"),
    117: ("F17: a PNG as model by HTTP", "422, the old model stays; replaced ones are kept and audited"),
    118: ("F18: SIGTERM beside a half-sent upload", "ends within 10 s"),
    119: ("F19: 40 event streams of one user", "429 beyond 20"),
    120: ("F20: 20,000 images", "benchmarks/many_images.py"),
    121: ("F21: an image exchanged by a smaller one", "409 names it; training goes on without it"),
    122: ("F22: the file of a label is gone or changed", "410 names it; lists go on"),
    123: ("F23: values of wrong types", "4xx"),
    124: ("F24: subject set with an upload", "422"),
    125: ("F25: reserved names", "refused"),
    126: ("F26: accounts stay private", "mode 0600"),
    127: ("F27: what killed processes leave", "taken away by repair"),
    128: ("F28: a lost signing key or secret", "refused, nothing new is made"),
    129: ("F29: a time limit during a long step", "looked at before each step, and while intensities are measured"),
    130: ("F30: tokens", "expire, rotate; a wrong one takes 0.2 s"),
    131: ("F31: folders of the server in answers", "not told"),
    132: ("F32: the stock form POST /train/ {model}", "accepted"),
}


class Report:
    """Collects the results of marked tests."""

    def __init__(self) -> None:
        self.tests: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the result of a test, from this process or from a worker."""
        for row in dict(report.user_properties).get("rows", []):
            self.tests[row][report.nodeid.partition("[")[0]].append(report.outcome)

    def write(self, path: Path) -> None:
        lines = ["# Bad inputs and faults", "", "Written by `pytest --faults-report docs/evidence/faults.md`; do not edit.", ""]
        lines += ["| # | try | right outcome | shown by | result |", "|---|---|---|---|---|"]
        for number, (tried, outcome) in ROWS.items():
            found = self.tests.get(number, {})
            names = ", ".join(f"`{name.rpartition('/')[2]}`" for name in sorted(found)) or "no test"
            results = [r for each in found.values() for r in each]
            said = f"{results.count('passed')} of {len(results)} passed" if results else "not shown"
            lines.append(f"| {number} | {tried} | {outcome} | {names} | {said} |")
        path.write_text("\n".join(lines) + "\n")
