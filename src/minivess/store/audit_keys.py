"""The keys of an audit chain: an Ed25519 key that signs checkpoints, and the secret of the image ids' keyed hashes."""

from __future__ import annotations

import secrets
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from minivess.errors import InputError, StoreError
from minivess.paths import atomic_file

PUBLIC_KEY = "public_key.pem"
_PRIVATE_KEY, _SECRET = "signing_key.pem", "case_secret"


def load_keys(folder: Path, *, in_use: bool) -> tuple[Ed25519PrivateKey, bytes]:
    """Load the signing key and the secret of a chain; create those of a new chain.

    Args:
        folder: Folder of the chain.
        in_use: Whether the chain has entries: then a key that is missing was lost, and another one would not fit.

    Raises:
        StoreError: When a key is lost or damaged.
        OSError: When a file cannot be read or written.
    """
    private, secret, public = folder / _PRIVATE_KEY, folder / _SECRET, folder / PUBLIC_KEY
    for path in (private, secret):
        if in_use and not path.exists():
            raise StoreError(
                f"{path} is missing, but the audit chain was written with it, and a new one would not fit. Nothing was changed. "
                "Restore it from a backup of the store."
            )
    if not private.exists():
        if public.exists():
            raise StoreError(f"{private} is missing, but its public key {public.name} is there. Restore it from a backup.")
        key = Ed25519PrivateKey.generate()
        _write_private(private, key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()))
    if not secret.exists():
        _write_private(secret, secrets.token_bytes(32))
    try:
        loaded = pem.load_pem_private_key(private.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: the key is encrypted
        loaded = None
    if not isinstance(loaded, Ed25519PrivateKey):
        raise StoreError(f"{private} is not an Ed25519 key. Restore the original file.")
    if not public.exists():
        with atomic_file(public) as temporary:
            temporary.write_bytes(loaded.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))
    elif read_public_key(public).public_bytes_raw() != loaded.public_key().public_bytes_raw():
        raise StoreError(f"{private} is not the key that {public.name} belongs to. Restore the original file.")
    return loaded, secret.read_bytes()


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        InputError: When the file is not an Ed25519 public key in PEM form.
    """
    try:
        key = pem.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} is not a public key in PEM form ({error}).") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path} is not an Ed25519 key.")
    return key


def _write_private(path: Path, content: bytes) -> None:
    with atomic_file(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_bytes(content)
