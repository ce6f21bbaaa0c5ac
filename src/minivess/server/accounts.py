"""The accounts of a server: name, role, and the hash of a token."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from filelock import FileLock

from minivess.errors import InputError, NotFoundError, StoreError
from minivess.paths import write_json
from minivess.store.names import check_name

_logger = logging.getLogger(__name__)
Role = Literal["reader", "annotator", "reviewer", "admin"]
#: Actors in the audit chain that are no users.
RESERVED_NAMES = frozenset({"admin", "server", "import", "annotator", "unknown"})
ROLES: tuple[Role, ...] = get_args(Role)  # each role includes those before it


@dataclass(frozen=True)
class Account:
    """A user that the server has authenticated.

    Attributes:
        name: Name in labels and in the audit chain.
        role: What the user may do.
    """

    name: str
    role: Role

    def has_role(self, role: Role) -> bool:
        """Return whether the account's role includes another one.

        Example:
            >>> Account("ann", "annotator").has_role("reader"), Account("ann", "annotator").has_role("admin")
            (True, False)
        """
        return ROLES.index(self.role) >= ROLES.index(role)


class Accounts:
    """The accounts in one JSON file: name, role and SHA-256 of the token."""

    def __init__(self, path: Path) -> None:
        """Use a file; it may not exist yet. It is read with each request, so that an account can be removed at any time."""
        self.path = path
        self._session_tokens: dict[str, Account] = {}

    def add(self, name: str, role: str, *, days: int | None = None) -> str:
        """Add an account.

        Args:
            name: Name of the user.
            role: One of :data:`ROLES`.
            days: Days until its token expires; None for a token that does not expire.

        Returns:
            Its token, which cannot be read again.

        Raises:
            InputError: When the name exists or the role is unknown.
        """
        check_name(name, "The name")
        if name.casefold() in RESERVED_NAMES:
            raise InputError(f"The name {name!r} is used by the server itself in labels and in the audit chain. Choose another.")
        if role not in ROLES:
            raise InputError(f"There is no role {role!r}. Allowed: {', '.join(ROLES)}.")
        token = secrets.token_urlsafe(24)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock"):
            accounts = self._read()
            if name in accounts:
                raise InputError(f"{name} has an account already. Remove it first, or choose another name.")
            self._write({**accounts, name: _row(role, token, days)})
        return token

    def rotate(self, name: str, *, days: int | None = None) -> str:
        """Replace the token of an account; the old one is no longer valid.

        Args:
            name: Name of the user.
            days: Days until the new token expires; None for one that does not expire.

        Returns:
            The new token, which cannot be read again.

        Raises:
            NotFoundError: When there is no such account.
        """
        token = secrets.token_urlsafe(24)
        with FileLock(f"{self.path}.lock"):
            accounts = self._read()
            if name not in accounts:
                raise NotFoundError(f"{name} has no account. Existing accounts: {', '.join(accounts) or 'none'}.")
            self._write({**accounts, name: _row(accounts[name]["role"], token, days)})
        return token

    def remove(self, name: str) -> None:
        """Remove an account; its token is no longer valid.

        Raises:
            NotFoundError: When there is no such account.
        """
        with FileLock(f"{self.path}.lock"):
            accounts = self._read()
            if name not in accounts:
                raise NotFoundError(f"{name} has no account. Existing accounts: {', '.join(accounts) or 'none'}.")
            self._write({n: a for n, a in accounts.items() if n != name})

    def all(self) -> list[Account]:
        """List the accounts by name."""
        return [_account(name, row) for name, row in sorted(self._read().items())]

    def add_session_token(self, account: Account, token: str) -> None:
        """Accept a token until this process ends; it is not written to the file.

        Args:
            account: Account that the token belongs to.
            token: The token.
        """
        self._session_tokens[_hash(token)] = account

    def find_by_token(self, token: str) -> Account | None:
        """Return the account of a token; None when the token is wrong. Every wrong token takes the same time."""
        digest, account = _hash(token), None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        valid = {name: row for name, row in self._read().items() if not row["expires"] or row["expires"] > now}
        known = {row["token_sha256"]: _account(name, row) for name, row in valid.items()}
        for token_hash, candidate in {**known, **self._session_tokens}.items():
            if hmac.compare_digest(token_hash, digest):
                account = candidate
        return account

    def _write(self, rows: Mapping[str, Mapping[str, str]]) -> None:
        """Write the file; where root does, it belongs to whom it did, or the folder does, so that the server can read it."""
        owner = (self.path if self.path.exists() else self.path.parent).stat()
        write_json(self.path, rows, mode=0o600)
        if os.getuid() == 0:
            for file in (self.path, Path(f"{self.path}.lock")):
                with contextlib.suppress(OSError):  # a file system without owners
                    os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)  # the folder may be somebody's

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            rows = dict(json.loads(self.path.read_text())) if self.path.exists() else {}
            return {
                name: {"role": str(row["role"]), "token_sha256": str(row["token_sha256"]), "expires": str(row.get("expires", ""))}
                for name, row in rows.items()
            }
        except OSError as error:
            _logger.exception("%s cannot be read", self.path)
            raise StoreError(
                f"The file {self.path.name} with the accounts cannot be read: {error.strerror}. It must belong to the user that "
                "the server runs as."
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _logger.exception("%s cannot be read", self.path)
            raise StoreError(
                f"The file {self.path.name} with the accounts is damaged. Restore it from a backup, or delete it and add the "
                "accounts again."
            ) from error


def accounts_path(workspace: Path) -> Path:
    """Return the file of the accounts in a workspace."""
    return workspace / "accounts.json"


def _row(role: str, token: str, days: int | None) -> dict[str, str]:
    expires = "" if days is None else (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")
    return {"role": role, "token_sha256": _hash(token), "expires": expires}


def _account(name: str, row: dict[str, str]) -> Account:
    role = next((r for r in ROLES if r == row["role"]), ROLES[0])
    return Account(name, role)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()  # tokens are random and long: a slow hash would add nothing
