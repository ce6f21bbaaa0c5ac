"""Jobs: long-running work with an urgency, progress, a time limit and cancellation.

The server starts and lists jobs; code of the label app reports its progress to :func:`current_job`.
"""

from minivess.jobs.job import Job, JobState, JobStep, current_job
from minivess.jobs.priority_lock import Urgency
from minivess.jobs.registry import Jobs

__all__ = ["Job", "JobState", "JobStep", "Jobs", "Urgency", "current_job"]
