"""The registry of jobs: run or start them, list the open ones and the last ended ones of each kind."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from minivess.errors import BusyError, CancelledError, ConflictError, MinivessError, NotFoundError
from minivess.jobs.job import Job, working_for

_logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class Jobs:
    """The jobs of a server, run in the caller's thread or in a thread of their own.

    Attributes:
        closing: Set when no more jobs may begin.
        on_end: Functions that are called with each job that has ended.
    """

    def __init__(self, *, remembered: int = 200, at_once: int = 64) -> None:
        """Initialise an empty registry.

        Args:
            remembered: Number of ended jobs of each kind that are still listed.
            at_once: Number of jobs that may wait or run at the same time; more are refused.
        """
        self.remembered = remembered
        self.at_once = at_once
        self.closing = False
        self.on_end: list[Callable[[Job], None]] = []
        self._jobs: dict[str, Job] = {}
        self._lock = threading.RLock()  # reentrant, because signal handlers acquire it too

    def run(self, job: Job, work: Callable[[], Result]) -> Result:
        """Run a job in the calling thread; an exception of ``work`` is raised again.

        Args:
            job: The job.
            work: The work; inside it, :func:`minivess.jobs.current_job` returns ``job``.

        Returns:
            What ``work`` returns.

        Raises:
            BusyError: When too many jobs are open, or the server is stopping.
            ConflictError: When an open job has the same id.
        """
        self._enter(job)
        return self._do(job, work)

    def start(self, job: Job, work: Callable[[], Any]) -> Job:
        """Run a job in a new thread; the return value of ``work`` becomes ``job.result``, exceptions are logged.

        Args:
            job: The job.
            work: The work; inside it, :func:`minivess.jobs.current_job` returns ``job``.

        Returns:
            The job.

        Raises:
            BusyError: When too many jobs are open, or the server is stopping.
            ConflictError: When an open job has the same id.
        """
        self._enter(job)
        context = contextvars.copy_context()

        def run_in_thread() -> None:
            try:
                context.run(self._do, job, lambda: job.change(result=work()))
            except CancelledError:
                _logger.info("job %s (%s %s) was cancelled", job.id, job.kind, job.public_subject)
            except MinivessError as error:
                _logger.warning("job %s (%s %s) ended: %s", job.id, job.kind, job.public_subject, type(error).__name__)
            except Exception:
                _logger.error("job %s (%s %s) failed", job.id, job.kind, job.public_subject, exc_info=True)

        threading.Thread(target=run_in_thread, name=f"job-{job.kind}", daemon=True).start()
        return job

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: When no job has this id, or it ended and is no longer listed.
        """
        job = self._jobs.get(job_id)
        if job is None:
            raise NotFoundError(f"There is no job {job_id[:64]!r}, or it ended and is no longer listed. See GET /jobs/.")
        return job

    def all(self, kind: str | None = None) -> list[Job]:
        """List all jobs, or those of a kind; the oldest first."""
        with self._lock:
            return [job for job in self._jobs.values() if kind in (None, job.kind)]

    def open(self, kind: str | None = None) -> list[Job]:
        """List the jobs, or those of a kind, that have not ended."""
        return [job for job in self.all(kind) if not job.over]

    def _enter(self, job: Job) -> None:
        with self._lock:
            if self.closing:
                raise BusyError("The server is stopping. Try again when it is back.")
            existing = self._jobs.get(job.id)
            if existing is not None and not existing.over:
                raise ConflictError(f"A job with the id {job.id} is running or waiting. Send another X-Request-ID.")
            if sum(not other.over for other in self._jobs.values()) >= self.at_once:
                raise BusyError(f"{self.at_once} jobs are running or waiting. Try again later.")
            mine = sum(not other.over and other.actor == job.actor for other in self._jobs.values())
            if job.actor and mine >= self.at_once // 2:  # the rest is for others
                raise BusyError(f"{mine} of your jobs are running or waiting. Try again later.")
            ended = [other.id for other in self._jobs.values() if other.over and other.kind == job.kind]
            for old_id in ended[: max(0, len(ended) - self.remembered + 1)]:
                del self._jobs[old_id]
            self._jobs[job.id] = job

    def _do(self, job: Job, work: Callable[[], Result]) -> Result:
        job.change(state="running", started=time.time())
        try:
            with working_for(job):
                result = work()
        except BaseException as error:
            cause = error.__cause__ if isinstance(error.__cause__, MinivessError) else error
            message = str(cause) if isinstance(cause, MinivessError) else type(cause).__name__  # other texts may name patients
            self._end(job, state="cancelled" if isinstance(cause, CancelledError) else "failed", message=message)
            raise
        self._end(job, state="done", share=1.0)
        return result

    def _end(self, job: Job, **values: Any) -> None:
        job.change(ended=time.time(), request={} if job.kind == "infer" else job.request, **values)
        for listener in self.on_end:
            listener(job)
