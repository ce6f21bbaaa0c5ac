"""Leases: a case is reserved for one user at a time, until the user submits or the lease expires.

Leases, and what was served to whom, are in the index only: after a rebuild, a label of somebody who was served the current
one before it, and has not submitted since, conflicts with it once. A reviewer decides; nothing is lost.
"""

from __future__ import annotations

import time

from minivess.store.journal import Journal


class Leases:
    """Leases of cases, and the revision that was last served to each user."""

    def __init__(self, journal: Journal) -> None:
        """Use the index of a store's journal."""
        self._journal = journal

    def take(self, image_id: str, holder: str, *, seconds: float) -> bool:
        """Try to lease a case, or renew a lease.

        Args:
            image_id: The case.
            holder: For whom.
            seconds: Duration of the lease.

        Returns:
            Whether ``holder`` has the lease now; False when another user has it.

        Raises:
            StoreError: When the index cannot be written.
        """
        now = time.time()
        with self._journal.transaction() as transaction:
            transaction.connection.execute("DELETE FROM leases WHERE until < ?", (now,))
            row = transaction.connection.execute("SELECT holder FROM leases WHERE case_id = ?", (image_id,)).fetchone()
            if row is not None and row["holder"] != holder:
                return False
            transaction.connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (image_id, holder, now + seconds))
            return True

    def release(self, image_id: str, holder: str) -> None:
        """End the lease of a case; no effect when ``holder`` does not have it.

        Args:
            image_id: The case.
            holder: Who has the lease.

        Raises:
            StoreError: When the index cannot be written.
        """
        with self._journal.transaction() as transaction:
            transaction.connection.execute("DELETE FROM leases WHERE case_id = ? AND holder = ?", (image_id, holder))

    def held(self, *, by_others_than: str = "") -> set[str]:
        """Return the image ids of the cases that are leased now, except those leased by the user ``by_others_than``."""
        rows = self._journal.connection.execute(
            "SELECT case_id FROM leases WHERE until >= ? AND holder != ?", (time.time(), by_others_than)
        )
        return {row["case_id"] for row in rows}

    def record_served(self, image_id: str, tag: str, holder: str) -> None:
        """Record the current revision as served to a user; it is the default base of the user's next submission.

        Args:
            image_id: The case.
            tag: Tag of the label.
            holder: The user.

        Raises:
            StoreError: When the index cannot be written.
        """
        with self._journal.transaction() as transaction:
            transaction.connection.execute(
                "INSERT OR REPLACE INTO seen SELECT ?, ?, ?, COALESCE(MAX(number), 0) FROM revisions "
                "WHERE case_id = ? AND tag = ? AND state = 'current'",
                (image_id, tag, holder, image_id, tag),
            )
