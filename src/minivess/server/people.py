"""Who may do what: accounts with a role, known by a token that is kept as a hash only."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from filelock import FileLock

from minivess.errors import InputError, NotFoundError
from minivess.paths import write_json
from minivess.store.names import check_name

Role = Literal["reader", "annotator", "reviewer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may do what those before it may


@dataclass(frozen=True)
class Person:
    """Somebody whom the server has recognised.

    Attributes:
        name: How they are named in labels and in the audit chain.
        role: What they may do.
    """

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Tell whether they may do what a role may."""
        return ROLES.index(self.role) >= ROLES.index(role)


class People:
    """The accounts of a server, in one JSON file: name, role, and the token's SHA-256."""

    def __init__(self, path: Path) -> None:
        """Take the file; it may not exist yet. It is read anew at each look-up, so that an account can go at any time."""
        self.path = path
        self._own: dict[str, Person] = {}

    def add(self, name: str, role: str) -> str:
        """Make an account.

        Returns:
            Its token, which nobody can read again.

        Raises:
            InputError: When the name is taken or the role unknown.
        """
        check_name(name, "The name")
        if role not in ROLES:
            raise InputError(f"There is no role {role!r}. Allowed: {', '.join(ROLES)}.")
        token = secrets.token_urlsafe(24)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock"):
            accounts = self._read()
            if name in accounts:
                raise InputError(f"{name} has an account. Remove it first, or take another name.")
            write_json(self.path, {**accounts, name: {"role": role, "token_sha256": _hash(token)}})
            self.path.chmod(0o600)
        return token

    def remove(self, name: str) -> None:
        """Close an account; its token is worth nothing from now on.

        Raises:
            NotFoundError: When there is none.
        """
        with FileLock(f"{self.path}.lock"):
            accounts = self._read()
            if name not in accounts:
                raise NotFoundError(f"{name} has no account. There are: {', '.join(accounts) or 'none'}.")
            write_json(self.path, {n: a for n, a in accounts.items() if n != name})

    def all(self) -> list[Person]:
        """List the accounts."""
        return [_person(name, account) for name, account in sorted(self._read().items())]

    def welcome(self, person: Person, token: str) -> None:
        """Know a token for as long as this process lives, without writing it down."""
        self._own[_hash(token)] = person

    def of_token(self, token: str) -> Person | None:
        """Recognise somebody; it takes the same time for every wrong token."""
        digest, found = _hash(token), None
        known = {account["token_sha256"]: _person(name, account) for name, account in self._read().items()}
        for theirs, person in {**known, **self._own}.items():
            if hmac.compare_digest(theirs, digest):
                found = person
        return found

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            return dict(json.loads(self.path.read_text())) if self.path.exists() else {}
        except ValueError as error:
            raise InputError(
                f"{self.path} is damaged ({error}). Put back a copy, or remove it and make the accounts anew."
            ) from error


def _person(name: str, account: dict[str, str]) -> Person:
    role = next((r for r in ROLES if r == account["role"]), ROLES[0])
    return Person(name, role)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()  # tokens are random and long: a slow hash would add nothing
