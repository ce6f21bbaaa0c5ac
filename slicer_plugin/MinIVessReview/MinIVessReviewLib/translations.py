"""The server's words for kinds, states and steps in the user's language; a word that is not listed is shown as it is."""

from slicer.i18n import tr as _


def kind_text(kind):
    """Return the kind of a region."""
    words = {
        "gap": _("gap"),
        "spur": _("spur"),
        "false merge": _("false merge"),
        "faint branch": _("faint branch"),
        "blob": _("blob"),
        "boundary": _("boundary"),
        "random check": _("random check"),
    }
    return words.get(kind, kind)


def state_text(state):
    """Return the state of a region."""
    words = {
        "pending": _("pending"),
        "leased": _("reserved"),
        "accepted": _("accepted"),
        "fixed": _("corrected"),
        "skipped": _("skipped"),
        "obsolete": _("obsolete"),
    }
    return words.get(state, state)


def step_text(step):
    """Return the name of a step of the draft."""
    words = {
        "draw": _("stroke"),
        "path": _("path"),
        "connect": _("connection"),
        "cut": _("cut"),
        "remove": _("branch removed"),
        "specks": _("specks removed"),
        "grow": _("filled"),
        "smooth": _("outline smoothed"),
        "object": _("vessel of the model"),
        "box": _("vessel of the model"),
    }
    return words.get(step, step)
