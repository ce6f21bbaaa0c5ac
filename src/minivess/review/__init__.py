"""Which regions should an annotator look at, in which order, and why; prompts, edits, drafts.

The way of a region: :mod:`.analysis` finds likely errors in a prediction, :mod:`.ranker` scores blocks, :mod:`.region_selection`
places regions, :mod:`.queue_builder` puts them in the store's queue, :mod:`.service` records answers, :mod:`.ranker_samples`
trains the ranker with them. Corrections: :mod:`.tools` turns clicks into :mod:`.prompts`, :mod:`.edits` applies them,
:mod:`.drafts` keeps them.
"""
