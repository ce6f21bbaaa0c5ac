"""The audit chain: who did what, in a hash chain that shows when an entry was changed, removed or inserted.

``chain.jsonl`` has one entry per line; each contains the hash of the previous one. A hash chain alone cannot show that its end
was cut off or that all of it was rewritten: for that, its head is signed at intervals (``checkpoints.jsonl``), and a copy of
the checkpoints and of the public key must be stored in another place. Image ids are written as keyed hashes (HMAC-SHA-256).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from filelock import FileLock

from minivess.errors import InputError, StoreError
from minivess.paths import atomic_file, fsync_folder

GENESIS = "0" * 64
#: The head is signed after this many entries, and on request.
CHECKPOINT_EVERY = 100


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
        self.public_key = self.folder / "public_key.pem"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.folder / ".lock")
            with self._lock:
                self._key, self._secret = self._load_keys()
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
            StoreError: When the entry or a checkpoint that is due cannot be written, or the last entry is damaged.
        """
        try:
            with self._lock:
                seq, previous = self._head()
                body: dict[str, Any] = {
                    "seq": seq + 1,
                    "time_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "actor": actor,
                    "action": action,
                    "case_hmac": self.case_hmac(image_id) if image_id else "",
                    "details": dict(details or {}),
                    "prev_hash": previous,
                }
                entry: dict[str, Any] = {**body, "hash": _hash(body)}
                _append_line(self.path, entry)
                if entry["seq"] % CHECKPOINT_EVERY == 0:
                    self._sign(entry["seq"], entry["hash"])
                return int(entry["seq"])
        except OSError as error:
            raise StoreError(
                f"The audit chain cannot be written: {error.strerror or error}. The action was refused and nothing was changed. "
                "Free space on the disk or correct its permissions, and try again."
            ) from error

    def case_hmac(self, name: str) -> str:
        """Compute the HMAC-SHA-256 of an image id or another name with the store's secret, so that nobody can guess the name."""
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()

    def entries(self) -> Iterator[dict[str, Any]]:
        """Read the entries in order; an unfinished last line, which was never acknowledged, is left out."""
        for line in self._lines():
            yield json.loads(line)

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
        hashes: dict[int, str] = {0: GENESIS}
        previous, seq = GENESIS, 0
        for seq, line in enumerate(self._lines(), start=1):
            reason = _find_fault(line, seq, previous)
            if reason:
                return VerificationResult(False, seq - 1, seq, reason, 0)
            previous = hashes[seq] = json.loads(line)["hash"]
        key = _read_public_key(public_key or self.public_key)
        count = 0
        rows = _read_checkpoints(checkpoints or self.checkpoints, required=checkpoints is not None)
        for count, signed in enumerate(rows, start=1):
            try:
                key.verify(bytes.fromhex(signed["signature"]), _signed_bytes(signed))
            except (InvalidSignature, KeyError, ValueError):
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

    def _sign(self, seq: int, head: str) -> dict[str, Any]:
        signed: dict[str, Any] = {"seq": seq, "hash": head, "time_utc": datetime.now(UTC).isoformat(timespec="milliseconds")}
        signed["signature"] = self._key.sign(_signed_bytes(signed)).hex()
        _append_line(self.checkpoints, signed)
        return signed

    def _load_keys(self) -> tuple[Ed25519PrivateKey, bytes]:
        """Load the signing key and the HMAC secret; create the ones that are missing."""
        private, secret = self.folder / "signing_key.pem", self.folder / "case_secret"
        if not private.exists():
            key = Ed25519PrivateKey.generate()
            _write_private(private, key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()))
        if not secret.exists():
            _write_private(secret, secrets.token_bytes(32))
        try:
            loaded = pem.load_pem_private_key(private.read_bytes(), password=None)
        except ValueError:
            loaded = None
        if not isinstance(loaded, Ed25519PrivateKey):
            raise StoreError(f"{private} is not an Ed25519 key. Restore the original file.")
        if not self.public_key.exists():
            with atomic_file(self.public_key) as temporary:
                temporary.write_bytes(loaded.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))
        return loaded, secret.read_bytes()


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
    except (ValueError, KeyError, TypeError):
        return f"Entry {seq} is not a valid entry."
    return ""


def _signed_bytes(signed: Mapping[str, Any]) -> bytes:
    return _canonical({k: v for k, v in signed.items() if k != "signature"})


def _append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Append one line of JSON and flush it to the disk; when that fails, truncate the file to its old length."""
    new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        before = os.fstat(descriptor).st_size
        data = _canonical(content) + b"\n"
        try:
            written = os.write(descriptor, data)
            if written != len(data):
                os.write(descriptor, data[written:])  # raises where the disk is full
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)
    if new:
        fsync_folder(path.parent)


def _write_private(path: Path, content: bytes) -> None:
    with atomic_file(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_bytes(content)


def _read_public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = pem.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a public key in PEM form ({error}).") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path} is not an Ed25519 key.")
    return key


def _read_checkpoints(path: Path, *, required: bool) -> Iterator[dict[str, Any]]:
    if required and not path.exists():
        raise InputError(f"There is no checkpoint file {path}.")
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            yield {}
