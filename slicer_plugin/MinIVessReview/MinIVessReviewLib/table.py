"""The queue as a table: rank, kind, reason, expected errors, state; a click chooses a place."""

import qt
from slicer.i18n import tr as _

WIDTHS = ((0, 30), (1, 90), (3, 50), (4, 75))


class QueueTable:
    """Fills a QTableWidget; `choose` is told the place of a row that is clicked on."""

    def __init__(self, table, choose):
        self.table, self.choose, self.places = table, choose, []
        columns = ("#", _("Kind"), _("Why"), _("Errors"), _("State"))
        table.setColumnCount(len(columns))
        table.setHorizontalHeaderLabels(columns)
        for column, width in WIDTHS:
            table.setColumnWidth(column, width)
        table.horizontalHeader().setSectionResizeMode(2, qt.QHeaderView.Stretch)
        table.connect("cellClicked(int,int)", self._on_cell)

    def fill(self, places, current):
        """Show places, and mark the one with the id `current`."""
        self.places, states = places, state_words()
        self.table.setRowCount(len(places))
        self.table.clearSelection()
        for row, place in enumerate(places):
            state = states.get(place["state"], place["state"])
            texts = (str(row + 1), kind_of(place), place["reason"], f"{place['expected_errors']:.1f}", state)
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(place["reason"])
                self.table.setItem(row, column, item)
            if place["id"] == current:
                self.table.selectRow(row)

    def _on_cell(self, row, _column):
        self.choose(self.places[row])


def kind_of(place):
    """Say in the user's language what kind of place it is."""
    words = {
        "gap": _("gap"),
        "spur": _("spur"),
        "false merge": _("false merge"),
        "faint branch": _("faint branch"),
        "blob": _("blob"),
        "boundary": _("boundary"),
    }
    return words.get(place["kind"], place["kind"])


def state_words():
    """Say in the user's language where a place stands."""
    return {
        "pending": _("pending"),
        "leased": _("taken"),
        "accepted": _("accepted"),
        "fixed": _("mended"),
        "skipped": _("skipped"),
        "obsolete": _("obsolete"),
    }
