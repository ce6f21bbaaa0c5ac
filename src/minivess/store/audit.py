"""Who did what, in a chain that shows when an entry was changed, removed or put in between.

``chain.jsonl`` holds one entry a line; each carries the hash of the one before. A chain alone cannot show that its end was
cut off or that all of it was written anew: for that its head is signed now and then (``checkpoints.jsonl``), and a copy of
the checkpoints and of the public key belongs to another place. No entry names a case: it carries a keyed hash of the name.
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
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key
from filelock import FileLock

from minivess.errors import InputError, StoreError
from minivess.paths import atomic_file, fsync_folder

GENESIS = "0" * 64
#: The head is signed after this many entries, and when asked.
CHECKPOINT_EVERY = 100


@dataclass(frozen=True)
class Verdict:
    """What reading the whole chain showed.

    Attributes:
        ok: The chain holds, and every checkpoint agrees with it.
        entries: How many entries hold.
        first_bad_seq: The first entry that does not, or is missing.
        reason: What is wrong, in a sentence.
        checkpoints: How many signed checkpoints were compared.
    """

    ok: bool
    entries: int
    first_bad_seq: int | None
    reason: str
    checkpoints: int


class AuditChain:
    """The chain in a folder; any number of processes may append to it."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, and make it with its keys where there is none.

        Raises:
            StoreError: When it cannot be written.
        """
        self.folder = Path(folder)
        self.path = self.folder / "chain.jsonl"
        self.checkpoints = self.folder / "checkpoints.jsonl"
        self.public_key = self.folder / "public_key.pem"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.folder / ".lock")
            with self._lock:
                self._key, self._secret = self._make_keys()
        except OSError as error:
            raise StoreError(f"The audit chain in {folder} cannot be opened: {error.strerror}. Nothing was changed.") from error

    def append(self, action: str, *, actor: str, case: str = "", details: Mapping[str, Any] | None = None) -> int:
        """Add an entry; it is on the disk when this returns.

        Args:
            action: What was done, for example ``label.submit``.
            actor: Who did it, as the server knows them.
            case: The case it was done to; only its keyed hash is written.
            details: Numbers and hashes that identify what was done; no patient data.

        Returns:
            The number of the entry.

        Raises:
            StoreError: When it cannot be written; the chain is as it was.
        """
        try:
            with self._lock:
                seq, previous = self._head()
                body: dict[str, Any] = {
                    "seq": seq + 1,
                    "time_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "actor": actor,
                    "action": action,
                    "case_hmac": self.case_hmac(case) if case else "",
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
                f"The audit chain cannot be written: {error.strerror}. The action was refused and nothing was changed. "
                "Free space on the disk or mend its permissions, and try again."
            ) from error

    def case_hmac(self, case: str) -> str:
        """Hash a case's name with the store's secret: a name cannot be guessed from it."""
        return hmac.new(self._secret, case.encode(), hashlib.sha256).hexdigest()

    def entries(self) -> Iterator[dict[str, Any]]:
        """Read the entries in order; an unfinished last line, which nobody was told of, is left out."""
        for line in self._lines():
            yield json.loads(line)

    def checkpoint(self) -> dict[str, Any]:
        """Sign the head now.

        Returns:
            The checkpoint: ``seq``, ``hash``, ``time_utc``, ``signature``. Keep a copy in another place.
        """
        with self._lock:
            seq, head = self._head()
            return self._sign(seq, head)

    def verify(self, *, checkpoints: Path | None = None, public_key: Path | None = None) -> Verdict:
        """Read the whole chain and compare it with the signed checkpoints.

        Args:
            checkpoints: A copy of the checkpoints that was kept elsewhere; by default the one beside the chain.
            public_key: The public key that was kept elsewhere; by default the one beside the chain.

        Raises:
            InputError: When a file that was named is missing or is no key.
        """
        hashes: dict[int, str] = {0: GENESIS}
        previous, seq = GENESIS, 0
        for seq, line in enumerate(self._lines(), start=1):
            reason = _fault(line, seq, previous)
            if reason:
                return Verdict(False, seq - 1, seq, reason, 0)
            previous = hashes[seq] = json.loads(line)["hash"]
        key = _read_public_key(public_key or self.public_key)
        count = 0
        for signed in _read_checkpoints(checkpoints or self.checkpoints, stated=checkpoints is not None):
            count += 1
            try:
                key.verify(bytes.fromhex(signed["signature"]), _signed_bytes(signed))
            except (InvalidSignature, KeyError, ValueError):
                return Verdict(False, seq, None, f"Checkpoint {count} is not signed by this key.", count)
            at = int(signed["seq"])
            if at not in hashes:
                return Verdict(
                    False, seq, seq + 1, f"The chain ends at {seq}, but entry {at} was signed: its end was cut off.", count
                )
            if hashes[at] != signed["hash"]:
                return Verdict(False, seq, at, f"Entry {at} is not the one that was signed: the chain was written anew.", count)
        return Verdict(True, seq, None, "", count)

    def _lines(self) -> Iterator[str]:
        if self.path.exists():
            with self.path.open(encoding="utf-8", errors="replace") as stream:
                for line in stream:
                    if line.endswith("\n"):
                        yield line

    def _head(self) -> tuple[int, str]:
        """Find the last entry, and cut off an unfinished line behind it: its writer was never answered."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return 0, GENESIS
        with self.path.open("r+b") as stream:
            size = stream.seek(0, os.SEEK_END)
            tail, start = b"", size
            while start > 0 and tail.rstrip(b"\n").count(b"\n") < 2:
                start = max(0, start - 8192)
                stream.seek(start)
                tail = stream.read(size - start)
            whole, _, torn = tail.rpartition(b"\n")
            if torn:
                stream.truncate(size - len(torn))
            if not whole:
                return 0, GENESIS
        try:
            last = json.loads(whole.rpartition(b"\n")[2])
            return int(last["seq"]), str(last["hash"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"The last entry of {self.path} is damaged, so nothing is added. Put back a copy; see `minivess audit verify`."
            ) from error

    def _sign(self, seq: int, head: str) -> dict[str, Any]:
        signed: dict[str, Any] = {"seq": seq, "hash": head, "time_utc": datetime.now(UTC).isoformat(timespec="milliseconds")}
        signed["signature"] = self._key.sign(_signed_bytes(signed)).hex()
        _append_line(self.checkpoints, signed)
        return signed

    def _make_keys(self) -> tuple[Ed25519PrivateKey, bytes]:
        private, secret = self.folder / "signing_key.pem", self.folder / "case_secret"
        if not private.exists():
            key = Ed25519PrivateKey.generate()
            _write_private(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        if not secret.exists():
            _write_private(secret, secrets.token_bytes(32))
        loaded = load_pem_private_key(private.read_bytes(), password=None)
        if not isinstance(loaded, Ed25519PrivateKey):
            raise StoreError(f"{private} is no Ed25519 key. Put back the one that was there.")
        if not self.public_key.exists():
            with atomic_file(self.public_key) as temporary:
                temporary.write_bytes(loaded.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return loaded, secret.read_bytes()


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _hash(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(body)).hexdigest()


def _fault(line: str, seq: int, previous: str) -> str:
    try:
        entry = json.loads(line)
        body = {k: v for k, v in entry.items() if k != "hash"}
        if entry["seq"] != seq:
            return f"Entry {seq} is missing: number {entry['seq']} stands in its place."
        if entry["prev_hash"] != previous:
            return f"Entry {seq} does not follow the entry before it."
        if entry["hash"] != _hash(body):
            return f"Entry {seq} was changed after it was written."
    except (ValueError, KeyError, TypeError):
        return f"Entry {seq} is no entry."
    return ""


def _signed_bytes(signed: Mapping[str, Any]) -> bytes:
    return _canonical({k: v for k, v in signed.items() if k != "signature"})


def _append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Append one line and wait for the disk; where that fails, the file gets its old length back."""
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
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no public key in PEM form ({error}).") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path} is no Ed25519 key.")
    return key


def _read_checkpoints(path: Path, *, stated: bool) -> Iterator[dict[str, Any]]:
    if not path.exists():
        if stated:
            raise InputError(f"No checkpoints at {path}.")
        return
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            yield {}
