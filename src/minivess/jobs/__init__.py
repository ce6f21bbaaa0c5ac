"""Jobs: work that takes a while and has an urgency, progress, a deadline and a way to stop it.

The server starts them and shows them; the label app's work tells its progress to :func:`current_job`, wherever it runs.
"""

from minivess.jobs.job import Job, State, Step, Urgency, current_job
from minivess.jobs.registry import Jobs

__all__ = ["Job", "Jobs", "State", "Step", "Urgency", "current_job"]
