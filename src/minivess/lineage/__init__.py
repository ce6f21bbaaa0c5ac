"""Where a label came from, and what was learned from it: revisions, answers, models, training data."""

from minivess.lineage.case import CaseLineage, trace_case
from minivess.lineage.drawing import draw_lineage
from minivess.lineage.models import ModelRecord, find_models
from minivess.lineage.voxel import trace_voxel

__all__ = ["CaseLineage", "ModelRecord", "draw_lineage", "find_models", "trace_case", "trace_voxel"]
