"""The errors that are suspected in the current region: walked through one by one."""

from functools import partial

from slicer.i18n import tr as _

from .translations import kind_text

RANDOM = "random check"


class SuspectedErrors:
    """The suspected errors of the region that is shown, in a session."""

    def __init__(self, session):
        self.session, self.image, self.show = session, session.image, session.show
        self._region, self._errors, self._shown = "", [], -1

    def next(self):
        """Go to the next error, after the last one to the first."""
        item = self.image.item
        if not item:
            self.show.message(_("Go to a region first (N)."), True)
        elif item["id"] == self._region:
            self._go()
        else:
            self.session.run(partial(self.session.tasks.suspected_errors, item["id"]), partial(self._fetched, item))

    def _fetched(self, item, errors):
        # Who looks at a random check is to look everywhere.
        self._region, self._errors, self._shown = item["id"], [] if item["kind"] == RANDOM else errors, -1
        if self.image.item and self.image.item["id"] == item["id"]:
            self._go()

    def _go(self):
        if not self._errors:
            self.show.message(_("No single error is suspected in this region."))
            return
        self._shown = (self._shown + 1) % len(self._errors)
        error = self._errors[self._shown]
        self.image.views.look(error["centre"])
        words = _("Error {number} of {count}: {kind}, {reason}.")
        number, count = self._shown + 1, len(self._errors)
        self.show.message(words.format(number=number, count=count, kind=kind_text(error["kind"]), reason=error["reason"]))
