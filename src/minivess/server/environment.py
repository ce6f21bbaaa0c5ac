"""Names of the environment variables by which the server is told things, and tells the processes that it starts."""

from __future__ import annotations

ACCOUNTS = "MINIVESS_ACCOUNTS"  # the file of the accounts
ADMIN_TOKEN = "MINIVESS_ADMIN_TOKEN"  # noqa: S105 (a name; the token of whoever starts the server, good until it stops)
HOST = "MINIVESS_HOST"  # the address that it listens on
