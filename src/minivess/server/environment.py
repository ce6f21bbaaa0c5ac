"""Names of the environment variables of the server, and of the processes that it starts."""

from __future__ import annotations

ACCOUNTS = "MINIVESS_ACCOUNTS"  # file of the accounts
ADMIN_TOKEN = "MINIVESS_ADMIN_TOKEN"  # noqa: S105 (the name of a variable: the token of the user who starts the server, valid until it stops)
PUBLIC_NAME = "MINIVESS_PUBLIC_NAME"  # name by which a reverse proxy is reached
HOST = "MINIVESS_HOST"  # address that it listens on
