"""A job: what it does, its progress, and whether it must stop."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from minivess.errors import CancelledError, DeadlineError, UsageError
from minivess.jobs.priority_lock import Urgency, priority_lock

Item = TypeVar("Item")
JobState = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class JobStep:
    """A timed part of a job.

    Attributes:
        name: For example ``infer``.
        start_ns: Start, in nanoseconds since 1970-01-01 UTC.
        seconds: Duration without the time spent waiting for priority locks.
    """

    name: str
    start_ns: int
    seconds: float


#: Kinds whose subject is no name of an image: it may stand in logs and measurements.
_PUBLIC = frozenset({"infer", "batch_infer", "scoring", "train"})


@dataclass(eq=False)
class Job:
    """One piece of work. The thread that does the work reports to it; other threads may read it or cancel it.

    Attributes:
        kind: ``infer``, ``batch_infer``, ``scoring``, ``ranking``, ``train`` or ``prompt``.
        subject: Name of the model, of the scoring method, or of the image that is ranked.
        urgency: Urgency of the job.
        actor: Who requested it.
        timeout_s: Time limit in seconds from its creation, waiting included; None for no limit.
        request: Parameters of the request.
        id: Identifier.
        state: See :data:`JobState`.
        share: Completed share, in [0, 1].
        message: What it does now, or why it ended.
        created: Time of creation, in seconds since 1970-01-01 UTC; ``started`` and ``ended`` likewise, None when not reached.
        details: Last lines of its output.
        result: A small result as plain values, for example scores.
        steps: Timed parts.
        changes: Counter that increases with every visible change.

    Example:
        >>> job = Job("scoring")
        >>> job.progress(0.25, "case 1 of 4")
        >>> job.to_json()["progress"], job.message
        (0.25, 'case 1 of 4')
        >>> job.cancel("ann")
        >>> job.progress(0.5)
        Traceback (most recent call last):
        ...
        minivess.errors.CancelledError: This scoring job was cancelled by ann.
    """

    kind: str
    subject: str = ""
    urgency: Urgency = Urgency.CLICK
    actor: str = ""
    timeout_s: float | None = None
    request: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: JobState = "queued"
    share: float = 0.0
    message: str = ""
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    details: list[str] = field(default_factory=list)
    result: Any = None
    steps: list[JobStep] = field(default_factory=list)
    changes: int = 0
    _cancelled_by: str = ""
    _created_monotonic: float = field(default_factory=time.monotonic)
    _waited_s: float = 0.0
    _lock_name: str = ""  # of the priority lock that the job has; empty for none
    _span: tuple[float, float] = (0.0, 1.0)  # start and width of the current part within [0, 1]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    def from_request(kind: str, subject: str, request: Mapping[str, Any], *, urgency: Urgency, actor: str, id: str = "") -> Job:
        """Create a job from a client's request.

        Args:
            kind: ``infer``, ``batch_infer``, ``scoring``, ``ranking`` or ``train``.
            subject: Name of the model, of the scoring method, or of the image that is ranked.
            request: Parameters of the request; ``timeout`` is the time limit in seconds, as in MONAI Label.
            urgency: Urgency of the job.
            actor: Who requested it.
            id: Identifier; a random one when empty.

        Raises:
            UsageError: When ``timeout`` is not a number above 0.
        """
        timeout_s = request.get("timeout")
        if timeout_s is not None and not (isinstance(timeout_s, (int, float)) and 0 < timeout_s < 1e7):
            raise UsageError(f"timeout must be a number of seconds above 0. Got {str(timeout_s)[:40]!r}.")
        return Job(kind, subject, urgency, actor, timeout_s, dict(request), id or uuid.uuid4().hex)

    @property
    def public_subject(self) -> str:
        """The subject as logs and measurements may name it; empty where it is an image, whose name may be a patient's."""
        return self.subject if self.kind in _PUBLIC else ""

    @property
    def over(self) -> bool:
        """Whether the job has ended: done, failed or cancelled."""
        return self.state in ("done", "failed", "cancelled")

    def cancel(self, by: str) -> None:
        """Request the job to stop, on behalf of the user ``by``; it stops at its next :meth:`check`."""
        self._cancelled_by = self._cancelled_by or by or "a user"

    def check(self) -> None:
        """Raise if the job must stop, and yield its priority lock to a more urgent job that waits for it.

        Raises:
            CancelledError: When the job was cancelled.
            DeadlineError: When its time limit is exceeded.
        """
        self.stop_if_asked()
        if self._lock_name:
            self._waited_s += priority_lock(self._lock_name).yield_to_more_urgent(self, self.urgency, self.stop_if_asked)

    def stop_if_asked(self) -> None:
        """Raise if the job must stop.

        Raises:
            CancelledError: When the job was cancelled.
            DeadlineError: When its time limit is exceeded.
        """
        if self._cancelled_by:
            raise CancelledError(f"This {self.kind} job was cancelled by {self._cancelled_by}.")
        if self.timeout_s is not None and time.monotonic() - self._created_monotonic > self.timeout_s:
            raise DeadlineError(f"This {self.kind} job took longer than its time limit of {self.timeout_s:g} s.")

    def progress(self, share: float, message: str = "") -> None:
        """Report the progress; the reported share never decreases.

        Args:
            share: Completed share of the job, or of the current part of :meth:`parts`; in [0, 1].
            message: What the job does now, without names of images; empty to keep the last message.

        Raises:
            CancelledError: When the job was cancelled.
            DeadlineError: When its time limit is exceeded.
        """
        self.check()
        start, width = self._span
        self.change(share=max(self.share, start + width * min(1.0, float(share))), message=message or self.message)

    def parts(self, items: Collection[Item], message: str = "part") -> Iterator[Item]:
        """Iterate over equal parts of the job; progress reported during an iteration counts for that part.

        Args:
            items: The parts.
            message: Word for a part, for the message ``part 1 of 3``.

        Yields:
            The items.

        Raises:
            CancelledError: When the job was cancelled.
            DeadlineError: When its time limit is exceeded.
        """
        outer, width = self._span, self._span[1] / max(1, len(items))
        try:
            for index, item in enumerate(items):
                self._span = (outer[0] + index * width, width)
                self.progress(0.0, f"{message} {index + 1} of {len(items)}")
                yield item
        finally:
            self._span = outer

    def change(self, **values: Any) -> None:
        """Set attributes, and increase ``changes``.

        Args:
            values: Attribute name -> new value.
        """
        with self._lock:
            for name, value in values.items():
                setattr(self, name, value)
            self.changes += 1

    @contextmanager
    def hold_lock(self, name: str) -> Iterator[None]:
        """Run the block with a priority lock, for example that of a device; the state is ``queued`` during the wait.

        Args:
            name: Name of the lock, see :func:`~minivess.jobs.priority_lock.priority_lock`.

        Raises:
            CancelledError: When the job was cancelled during the wait.
            DeadlineError: When its time limit was exceeded during the wait.
        """
        lock = priority_lock(name)
        self.change(state="queued")
        self._waited_s += lock.acquire(self, self.urgency, self.stop_if_asked)
        outer, self._lock_name = self._lock_name, name
        self.change(state="running")
        try:
            yield
        finally:
            self._lock_name = outer
            lock.release(self)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block, and add it to ``steps`` under a name.

        Raises:
            CancelledError: When the job was cancelled before.
            DeadlineError: When its time limit is exceeded already.
        """
        self.stop_if_asked()
        start_ns, start, waited_s = time.time_ns(), time.monotonic(), self._waited_s
        try:
            yield
        finally:
            self.steps.append(JobStep(name, start_ns, max(0.0, time.monotonic() - start - (self._waited_s - waited_s))))

    def to_json(self) -> dict[str, Any]:
        """Return the fields that clients may see, as plain values; the request is not among them."""
        return {
            "id": self.id,
            "kind": self.kind,
            "subject": self.subject,
            "state": self.state,
            "progress": round(self.share, 4),
            "message": self.message,
            "urgency": self.urgency.name.lower(),
            "actor": self.actor,
            "created": self.created,
            "started": self.started,
            "ended": self.ended,
            "timeout_s": self.timeout_s,
            "steps": {step.name: round(step.seconds, 4) for step in self.steps},
            "result": self.result,
        }


_current: ContextVar[Job | None] = ContextVar("current_job", default=None)


def current_job() -> Job:
    """Return the job that the calling code runs for; a new, unlisted job outside of any."""
    return _current.get() or Job("call")


@contextmanager
def working_for(job: Job) -> Iterator[None]:
    """Set :func:`current_job` to a job during the block."""
    token = _current.set(job)
    try:
        yield
    finally:
        _current.reset(token)
