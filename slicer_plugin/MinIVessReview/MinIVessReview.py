"""MinIVess Review: review the regions of a vessel segmentation with the most expected errors, correct them, submit the label."""

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
    """The entry in Slicer's list of modules."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MinIVess Review")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Active Learning")]
        parent.dependencies = []
        parent.contributors = ["The MinIVess authors"]
        parent.helpText = _(
            "Connects to a MinIVess server (or a stock MONAI Label server) when you press Connect; nothing is sent before. "
            "It shows the regions of a vessel segmentation with the most expected errors, one after the other. Keys: N next, "
            "A accept, F correct, S skip, U undo, O the model's uncertainty."
        )
        parent.acknowledgementText = _("Built on MONAI Label and 3D Slicer.")
        resources = Path(parent.path).parent / "Resources"
        slicer.app.connect("startupCompleted()", lambda: register(resources))
