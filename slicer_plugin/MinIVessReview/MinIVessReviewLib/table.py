"""The queue as a table: rank, kind, reason, expected errors, state."""

import qt
from slicer.i18n import tr as _

from .translations import kind_text, state_text

WIDTHS = ((0, 30), (1, 90), (3, 50), (4, 75))


class QueueTable:
    """Fills a QTableWidget; `items` are the regions of its rows."""

    def __init__(self, table):
        self.table, self.items = table, []
        columns = ("#", _("Kind"), _("Reason"), _("Errors"), _("State"))
        table.setColumnCount(len(columns))
        table.setHorizontalHeaderLabels(columns)
        for column, width in WIDTHS:
            table.setColumnWidth(column, width)
        table.horizontalHeader().setSectionResizeMode(2, qt.QHeaderView.Stretch)

    def fill(self, items, current):
        """Show regions, and select the one with the id `current`."""
        self.items = items
        self.table.setRowCount(len(items))
        self.table.clearSelection()
        for row, item in enumerate(items):
            state, errors = state_text(item["state"]), f"{item['expected_errors']:.1f}"
            for column, text in enumerate((str(row + 1), kind_text(item["kind"]), item["reason"], errors, state)):
                cell = qt.QTableWidgetItem(text)
                cell.setToolTip(item["reason"])
                self.table.setItem(row, column, cell)
            if item["id"] == current:
                self.table.selectRow(row)
