"""Bad inputs and faults by number, as tests show them: `@pytest.mark.row(13)`; and the report made of their results."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

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
}


class Report:
    """Collects the results of marked tests."""

    def __init__(self) -> None:
        self.tests: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))

    def add(self, rows: tuple[int, ...], test: str, outcome: str) -> None:
        for row in rows:
            self.tests[row][test.partition("[")[0]].append(outcome)

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
