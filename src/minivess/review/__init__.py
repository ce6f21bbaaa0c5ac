"""Which places should a person look at, in which order, and why."""
