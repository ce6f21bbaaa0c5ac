"""MinIVess Review: look at the places of a vessel segmentation where the model is unsure, mend them, submit the label."""

from pathlib import Path

import slicer
from MinIVessReviewLib.panel import MinIVessReviewWidget
from MinIVessReviewLib.sample import register
from MinIVessReviewLib.selftest import MinIVessReviewTest
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

__all__ = ["MinIVessReview", "MinIVessReviewTest", "MinIVessReviewWidget"]


class MinIVessReview(ScriptedLoadableModule):
    """What Slicer shows in its list of modules."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MinIVess Review")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Active Learning")]
        parent.dependencies = []
        parent.contributors = ["The MinIVess authors"]
        parent.helpText = _(
            "Connects to a MinIVess server (or a stock MONAI Label server) when you press Connect; nothing is sent before. "
            "It brings you to the places of a vessel segmentation that are most likely wrong. Keys: N next, A right as drawn, "
            "F mend, S skip, U undo, O the model's doubt."
        )
        parent.acknowledgementText = _("Built on MONAI Label and 3D Slicer.")
        resources = Path(parent.path).parent / "Resources"
        slicer.app.connect("startupCompleted()", lambda: register(resources))
