"""Which jobs are there? The last ones of each kind are remembered."""

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
    """The jobs of a server: run in the caller's thread, or started in one of their own."""

    def __init__(self, *, remembered: int = 200, at_once: int = 64) -> None:
        """Begin with none.

        Args:
            remembered: Jobs of each kind that are over and still told of.
            at_once: Jobs that may wait or run at the same time; more are refused.
        """
        self.remembered = remembered
        self.at_once = at_once
        self.closing = False  # set when no more are to begin
        self.on_end: list[Callable[[Job], None]] = []
        self._jobs: dict[str, Job] = {}
        self._lock = threading.RLock()  # also taken by the handler of a signal

    def run(self, job: Job, work: Callable[[], Result]) -> Result:
        """Do the work of a job here and now.

        Args:
            job: What it is.
            work: The work; it finds the job by :func:`minivess.jobs.current_job`.

        Raises:
            BusyError: When too many are under way.
            ConflictError: When a job with that id is under way.
        """
        self._enter(job)
        return self._do(job, work)

    def start(self, job: Job, work: Callable[[], Any]) -> Job:
        """Do the work of a job in a thread of its own; what it returns becomes the job's ``result``.

        Raises:
            BusyError: When too many are under way.
        """
        self._enter(job)
        context = contextvars.copy_context()

        def aside() -> None:
            try:
                context.run(self._do, job, lambda: job.change(result=work()))
            except MinivessError as error:
                _logger.warning("job %s (%s %s) ended: %s", job.id, job.kind, job.subject, type(error).__name__)
            except Exception:
                _logger.error("job %s (%s %s) failed", job.id, job.kind, job.subject, exc_info=True)

        threading.Thread(target=aside, name=f"job-{job.kind}", daemon=True).start()
        return job

    def get(self, job_id: str) -> Job:
        """Find a job.

        Raises:
            NotFoundError: When there is none of that id, or it is forgotten.
        """
        job = self._jobs.get(job_id)
        if job is None:
            raise NotFoundError(f"There is no job {job_id[:64]!r}, or it is over and forgotten. See GET /jobs/.")
        return job

    def all(self, kind: str | None = None) -> list[Job]:
        """List the jobs, oldest first, every one or those of a kind."""
        with self._lock:
            return [job for job in self._jobs.values() if kind in (None, job.kind)]

    def open(self, kind: str | None = None) -> list[Job]:
        """List those that are not over."""
        return [job for job in self.all(kind) if not job.over]

    def _enter(self, job: Job) -> None:
        with self._lock:
            if self.closing:
                raise BusyError("The server is stopping. Try again when it is back.")
            there = self._jobs.get(job.id)
            if there is not None and not there.over:
                raise ConflictError(f"A job with the id {job.id} is under way. Send another X-Request-ID.")
            if sum(not other.over for other in self._jobs.values()) >= self.at_once:
                raise BusyError(f"{self.at_once} jobs wait or run already. Try again in a while.")
            over = [other.id for other in self._jobs.values() if other.over and other.kind == job.kind]
            for old in over[: max(0, len(over) - self.remembered + 1)]:
                del self._jobs[old]
            self._jobs[job.id] = job

    def _do(self, job: Job, work: Callable[[], Result]) -> Result:
        job.change(state="running", started=time.time())
        try:
            with working_for(job):
                result = work()
        except BaseException as error:
            cause = error.__cause__ if isinstance(error.__cause__, MinivessError) else error
            said = str(cause) if isinstance(cause, MinivessError) else type(cause).__name__  # others' words may name patients
            self._end(job, state="cancelled" if isinstance(cause, CancelledError) else "failed", message=said)
            raise
        self._end(job, state="done", share=1.0)
        return result

    def _end(self, job: Job, **values: Any) -> None:
        job.change(ended=time.time(), request={} if job.kind == "infer" else job.request, **values)
        for listener in self.on_end:
            listener(job)
