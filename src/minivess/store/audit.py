"""The audit chain: who did what, in a hash chain that shows when an entry was changed, removed or inserted.

``chain.jsonl`` has one entry per line; each contains the hash of the previous one. A hash chain alone cannot show that its end
was cut off or that all of it was rewritten: for that, its head is signed at intervals (``checkpoints.jsonl``), and a copy of
the checkpoints and of the public key must be stored in another place. Image ids are written as keyed hashes (HMAC-SHA-256).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from filelock import FileLock

from minivess.errors import InputError, StoreError
from minivess.store.append import append_durably
from minivess.store.audit_keys import PUBLIC_KEY, load_keys, read_public_key

GENESIS = "0" * 64
#: The head is signed after this many entries, and on request.
CHECKPOINT_EVERY = 100
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AuditEntry:
    """What is appended to the chain.

    Attributes:
        action: What was done, for example ``label.entered``.
        actor: Who did it.
        image_id: The image; only its keyed hash is written. Empty when the action concerns no image.
        details: Numbers and hashes that identify what was done; no patient data.
    """

    action: str
    actor: str
    image_id: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Position:
    """A position in the chain.

    Attributes:
        seq: Number of the last entry before it.
        offset: Its offset in the file, in bytes.
    """

    seq: int
    offset: int


@dataclass(frozen=True)
class VerificationResult:
    """The result of a verification of the whole chain.

    Attributes:
        ok: Whether the chain is intact and every checkpoint agrees with it.
        entries: Number of intact entries.
        first_bad_seq: Number of the first entry that is missing or not intact; None when unknown or when all are intact.
        reason: What is wrong, in a sentence; empty when nothing is.
        checkpoints: Number of signed checkpoints that were compared.
    """

    ok: bool
    entries: int
    first_bad_seq: int | None
    reason: str
    checkpoints: int


class AuditChain:
    """The audit chain in a folder; any number of threads and processes may append to it."""

    def __init__(self, folder: Path) -> None:
        """Open the folder; create it and its keys when they are missing.

        Raises:
            StoreError: When the folder cannot be written, or its signing key is damaged.
        """
        self.folder = Path(folder)
        self.path = self.folder / "chain.jsonl"
        self.checkpoints = self.folder / "checkpoints.jsonl"
        self.public_key = self.folder / PUBLIC_KEY
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.folder / ".lock")
            with self._lock:
                in_use = self.path.exists() and self.path.stat().st_size > 0
                self._key, self._secret = load_keys(self.folder, in_use=in_use)
        except OSError as error:
            raise StoreError(
                f"The audit chain in {folder} cannot be opened: {error.strerror or error}. Nothing was changed."
            ) from error

    def append(self, action: str, *, actor: str, image_id: str = "", details: Mapping[str, Any] | None = None) -> int:
        """Append an entry; it is on the disk when this returns. The chain is unchanged when the entry cannot be written.

        Args:
            action: What was done, for example ``label.entered``.
            actor: Who did it.
            image_id: The image; only its keyed hash is written. Empty when the action concerns no image.
            details: Numbers and hashes that identify what was done; no patient data.

        Returns:
            The number of the entry, from 1.

        Raises:
            StoreError: As :meth:`append_all`.
        """
        return self.append_all([AuditEntry(action, actor, image_id, details or {})]).seq

    def append_all(self, entries: Sequence[AuditEntry]) -> Position:
        """Append entries, all or none; they are on the disk when this returns.

        Returns:
            The position after them.

        Raises:
            StoreError: When they cannot be written, or the last entry is damaged; the chain is unchanged.
            UncertainWriteError: When they cannot be written and the attempt cannot be undone either.
        """
        end: Position | None = None
        try:
            with self._lock:
                head = self._head()
                last, lines = head, []
                for entry in entries:
                    last, line = self._link(last, entry)
                    lines.append(line)
                offset = append_durably(self.path, b"".join(lines))
                end = Position(last[0], offset)
                if last[0] // CHECKPOINT_EVERY > head[0] // CHECKPOINT_EVERY:
                    self._try_to_sign(*last)
        except OSError as error:
            if end is None:  # otherwise only the lock failed, after the entries were written
                raise StoreError(
                    f"The audit chain cannot be written: {error.strerror or error}. The action was refused and nothing was "
                    "changed. Free space on the disk or correct its permissions, and try again."
                ) from error
        if end is None:
            raise StoreError("The audit chain cannot be locked. Nothing was changed.")
        return end

    def _link(self, previous: tuple[int, str], entry: AuditEntry) -> tuple[tuple[int, str], bytes]:
        """Return number and hash of an entry after ``previous``, and its line."""
        body: dict[str, Any] = {
            "seq": previous[0] + 1,
            "time_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "actor": entry.actor,
            "action": entry.action,
            "case_hmac": self.case_hmac(entry.image_id) if entry.image_id else "",
            "details": dict(entry.details),
            "prev_hash": previous[1],
        }
        digest = _hash(body)
        return (body["seq"], digest), _canonical({**body, "hash": digest}) + b"\n"

    def case_hmac(self, name: str) -> str:
        """Compute the HMAC-SHA-256 of an image id or another name with the store's secret, so that nobody can guess the name."""
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()

    def entries(self) -> Iterator[dict[str, Any]]:
        """Read the entries in order; an unfinished last line, which was never acknowledged, is left out.

        Raises:
            StoreError: When an entry is damaged.
        """
        return (entry for entry, _ in self.entries_after(Position(0, 0)))

    def entries_after(self, start: Position) -> Iterator[tuple[dict[str, Any], Position]]:
        """Read the entries after a position in order.

        Yields:
            The entry, and the position after it.

        Raises:
            StoreError: When an entry is damaged.
        """
        if not self.path.exists():
            return
        offset = start.offset
        with self.path.open("rb") as stream:
            stream.seek(offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                try:
                    entry = json.loads(line)
                    yield entry, Position(int(entry["seq"]), offset)
                except (ValueError, KeyError, TypeError) as error:
                    raise StoreError(f"{self.path} has a damaged entry. Restore a copy; see `minivess audit verify`.") from error

    def size(self) -> int:
        """Return the size of the chain's file in bytes."""
        return self.path.stat().st_size if self.path.exists() else 0

    def checkpoint(self) -> dict[str, Any]:
        """Sign the head of the chain now.

        Returns:
            The checkpoint: ``seq``, ``hash``, ``time_utc``, ``signature``. Store a copy in another place.

        Raises:
            StoreError: When the last entry is damaged.
            OSError: When the checkpoint cannot be written.
        """
        with self._lock:
            seq, head = self._head()
            return self._sign(seq, head)

    def verify(self, *, checkpoints: Path | None = None, public_key: Path | None = None) -> VerificationResult:
        """Read the whole chain and compare it with the signed checkpoints.

        Args:
            checkpoints: A copy of the checkpoints from another place; the file beside the chain by default.
            public_key: A copy of the public key from another place; the file beside the chain by default.

        Raises:
            InputError: When ``checkpoints`` is given and missing, or the public key cannot be read.
        """
        rows = _read_checkpoints(checkpoints or self.checkpoints, required=checkpoints is not None)  # before the chain grows
        hashes: dict[int, str] = {0: GENESIS}
        previous, seq = GENESIS, 0
        for seq, line in enumerate(self._lines(), start=1):
            reason = _find_fault(line, seq, previous)
            if reason:
                return VerificationResult(False, seq - 1, seq, reason, 0)
            previous = hashes[seq] = json.loads(line)["hash"]
        key = read_public_key(public_key or self.public_key)
        count = 0
        for count, signed in enumerate(rows, start=1):
            try:
                key.verify(bytes.fromhex(signed["signature"]), _signed_bytes(signed))
            except (InvalidSignature, KeyError, ValueError, TypeError):
                return VerificationResult(False, seq, None, f"Checkpoint {count} is not signed by this key.", count)
            at = int(signed["seq"])
            if at not in hashes:
                reason = f"The chain ends at {seq}, but entry {at} was signed: its end was cut off."
                return VerificationResult(False, seq, seq + 1, reason, count)
            if hashes[at] != signed["hash"]:
                reason = f"Entry {at} is not the one that was signed: the chain was rewritten."
                return VerificationResult(False, seq, at, reason, count)
        return VerificationResult(True, seq, None, "", count)

    def _lines(self) -> Iterator[str]:
        if self.path.exists():
            with self.path.open(encoding="utf-8", errors="replace") as stream:
                yield from (line for line in stream if line.endswith("\n"))

    def _head(self) -> tuple[int, str]:
        """Return number and hash of the last entry; remove an unfinished line after it, which was never acknowledged."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return 0, GENESIS
        with self.path.open("r+b") as stream:
            size = stream.seek(0, os.SEEK_END)
            tail, start = b"", size
            while start > 0 and tail.rstrip(b"\n").count(b"\n") < 2:
                start = max(0, start - 8192)
                stream.seek(start)
                tail = stream.read(size - start)
            complete, _, unfinished = tail.rpartition(b"\n")
            if unfinished:
                stream.truncate(size - len(unfinished))
            if not complete:
                return 0, GENESIS
        try:
            last = json.loads(complete.rpartition(b"\n")[2])
            return int(last["seq"]), str(last["hash"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"The last entry of {self.path} is damaged, so nothing is appended. Restore a copy; see `minivess audit verify`."
            ) from error

    def _try_to_sign(self, seq: int, head: str) -> None:
        """Sign the head when that is possible: the entries before it are written, whatever happens here."""
        try:
            self._sign(seq, head)
        except (OSError, StoreError) as error:
            _logger.warning("the audit chain has entry %d, but it could not be signed: %s", seq, error)

    def _sign(self, seq: int, head: str) -> dict[str, Any]:
        signed: dict[str, Any] = {"seq": seq, "hash": head, "time_utc": datetime.now(UTC).isoformat(timespec="milliseconds")}
        signed["signature"] = self._key.sign(_signed_bytes(signed)).hex()
        _remove_unfinished_line(self.checkpoints)
        append_durably(self.checkpoints, _canonical(signed) + b"\n")
        return signed


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _hash(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(body)).hexdigest()


def _find_fault(line: str, seq: int, previous: str) -> str:
    """Return what is wrong with a line of the chain, in a sentence; empty when nothing is."""
    try:
        entry = json.loads(line)
        body = {k: v for k, v in entry.items() if k != "hash"}
        if entry["seq"] != seq:
            return f"Entry {seq} is missing: entry {entry['seq']} is in its place."
        if entry["prev_hash"] != previous:
            return f"Entry {seq} does not follow the entry before it."
        if entry["hash"] != _hash(body):
            return f"Entry {seq} was changed after it was written."
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"Entry {seq} is not a valid entry."
    return ""


def _signed_bytes(signed: Mapping[str, Any]) -> bytes:
    return _canonical({k: v for k, v in signed.items() if k != "signature"})


def _read_checkpoints(path: Path, *, required: bool) -> list[dict[str, Any]]:
    """Read the checkpoints; an unfinished last line, of a power loss, is none. A copy from another place must hold some."""
    if required and not path.exists():
        raise InputError(f"There is no checkpoint file {path}.")
    text = path.read_text(errors="replace") if path.exists() else ""
    rows = [_parse_checkpoint(line) for line in text.splitlines()]
    if rows and not rows[-1] and not required and not text.endswith("\n"):
        rows.pop()
    if required and not rows:
        raise InputError(f"{path.name} holds no checkpoint. Name a copy of audit/checkpoints.jsonl.")
    return rows


def _parse_checkpoint(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):
        return {}  # no signature fits it


def _remove_unfinished_line(path: Path) -> None:
    """Cut off the part of a line that a power loss left at the end of a file: what is appended would be joined to it."""
    content = path.read_bytes() if path.exists() else b"\n"
    if content.endswith(b"\n") or not content:
        return
    _, _, last = content.rpartition(b"\n")
    if _parse_checkpoint(last.decode(errors="replace")):
        append_durably(path, b"\n")  # it is whole
    else:
        os.truncate(path, len(content) - len(last))
