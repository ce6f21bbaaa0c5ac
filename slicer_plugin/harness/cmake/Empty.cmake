# Nothing: what Slicer's own build would do here is not needed to check an extension.
