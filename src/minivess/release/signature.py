"""Sign a folder and verify it, by OpenSSF model signing with a key of one's own: no network, no certificate."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from minivess.errors import InputError, LockoutError, OutputError
from minivess.extras import require_extra

SIGNATURE = "release.sig"
PRIVATE_KEY, PUBLIC_KEY = "release_private.pem", "release_public.pem"


def create_keys(folder: Path) -> tuple[Path, Path]:
    """Write a new pair of keys (ECDSA, P-256): keep the private one apart, give the public one to whoever verifies.

    Args:
        folder: Folder to write to.

    Returns:
        Paths of the private and of the public key.

    Raises:
        OutputError: When there is a key already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    private, public = folder / PRIVATE_KEY, folder / PUBLIC_KEY
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    if public.exists():
        raise OutputError(f"There is a public key in {public}. Who verifies earlier releases needs it: choose another folder.")
    try:
        descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise OutputError(f"There is a key in {private}. Releases that it signed need it: choose another folder.") from error
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(pem)
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def sign_folder(folder: Path, private_key: Path) -> Path:
    """Sign every file of a folder.

    Args:
        folder: The folder.
        private_key: PEM file of an elliptic-curve key.

    Returns:
        Path of the signature, which is written into the folder.

    Raises:
        InputError: When the key cannot be read.
        MissingExtraError: When model-signing is not installed.
    """
    require_extra("evidence", "A signed release")
    from model_signing import hashing, signing

    folder = folder.resolve()  # the library takes relative ignored paths for parts of the folder
    signature = folder / SIGNATURE
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=private_key)
    except (OSError, ValueError, TypeError, AttributeError) as error:  # AttributeError: of another kind, such as RSA
        raise InputError(f"The key {private_key} cannot be read. Create one: minivess release keys FOLDER") from error
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False))
    config.sign(folder, signature)
    return signature


def verify_folder(folder: Path, public_key: Path) -> None:
    """Verify that a folder is as it was signed: no file changed, added, removed or renamed.

    Args:
        folder: The folder.
        public_key: PEM file of the signer's public key; it comes by another way than the folder.

    Raises:
        InputError: When the folder has no signature, or the key cannot be read.
        LockoutError: When the folder is not as it was signed; the files are named.
        MissingExtraError: When model-signing is not installed.
    """
    require_extra("evidence", "The verification of a release")
    from model_signing import hashing, verifying

    folder = folder.resolve()
    signature = folder / SIGNATURE
    if not signature.is_file():
        raise InputError(f"{folder} has no {SIGNATURE}: it is no release. Make one: minivess release make --help")
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError, TypeError) as error:
        reason = "" if public_key.is_file() else ": there is no such file"
        raise InputError(f"The public key {public_key} cannot be read{reason}.") from error
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False))
    try:
        config.verify(folder, signature)
    except (PermissionError, ImportError, MemoryError):  # nothing was looked at: not verified, and not said to be changed
        raise
    except Exception as error:  # the library raises many kinds, also of what it builds on: none of them is a verified release
        raise LockoutError(f"{folder} is not as it was signed, or by another key: {_in_words(error)}. Do not use it.") from error


def _in_words(error: Exception) -> str:
    """Return which files differ; the library's own message has the bytes of their hashes."""
    text = str(error)
    found = [f"changed: {', '.join(names)}" for names in [re.findall(r"Hash mismatch for '([^']*)'", text)] if names]
    for what, words in (("Missing", "missing"), ("Extra", "not of it")):
        found += [f"{words}: {names}" for names in re.findall(rf"{what} files(?: found)? in model '[^']*': ([^\"]*)\"", text)]
    return "; ".join(found) or text.partition("\n")[0][:200]
