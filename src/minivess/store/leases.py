"""Who is working on what: a case is reserved for one person, and given back when they submit or go away.

Leases live in the index alone: when it is made anew, they are gone, and nothing else.
"""

from __future__ import annotations

import time

from minivess.store.index import Index


class Leases:
    """Reservations of cases, and which revision each person was shown."""

    def __init__(self, index: Index) -> None:
        """Take the index that keeps them."""
        self._index = index

    def take(self, case_id: str, holder: str, *, seconds: float) -> bool:
        """Reserve a case for somebody; it tells whether it is theirs now. The lease of a holder who went away runs out."""
        now = time.time()
        with self._index.transaction() as connection:
            connection.execute("DELETE FROM leases WHERE until < ?", (now,))
            row = connection.execute("SELECT holder FROM leases WHERE case_id = ?", (case_id,)).fetchone()
            if row is not None and row["holder"] != holder:
                return False
            connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (case_id, holder, now + seconds))
            return True

    def release(self, case_id: str, holder: str) -> None:
        """Give a case back."""
        with self._index.transaction() as connection:
            connection.execute("DELETE FROM leases WHERE case_id = ? AND holder = ?", (case_id, holder))

    def held(self, *, by_others_than: str = "") -> set[str]:
        """Name the cases that are reserved now."""
        rows = self._index.connection.execute(
            "SELECT case_id FROM leases WHERE until >= ? AND holder != ?", (time.time(), by_others_than)
        )
        return {row["case_id"] for row in rows}

    def saw(self, case_id: str, tag: str, holder: str) -> None:
        """Remember which revision somebody is shown: what they submit next is made from it."""
        with self._index.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO seen SELECT ?, ?, ?, COALESCE(MAX(number), 0) FROM revisions "
                "WHERE case_id = ? AND tag = ? AND state = 'current'",
                (case_id, tag, holder, case_id, tag),
            )
