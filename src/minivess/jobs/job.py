"""One job: what it is, how far it is, and whether it is to stop."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, TypeVar

from minivess.errors import CancelledError, DeadlineError, UsageError
from minivess.jobs.turns import turns_of

Item = TypeVar("Item")
State = Literal["queued", "running", "done", "failed", "cancelled"]


class Urgency(IntEnum):
    """What goes first where only one can go: somebody waits for a click, nobody for a batch."""

    CLICK = 0
    BATCH = 1


@dataclass(frozen=True)
class Step:
    """A part of a job that was timed.

    Attributes:
        name: For example ``infer``.
        start_ns: When it began, in nanoseconds since 1970.
        seconds: How long it took, without the wait for other jobs.
    """

    name: str
    start_ns: int
    seconds: float


@dataclass(eq=False)
class Job:
    """Work under way. The thread that does it reports to it; any other may read it, or ask it to stop.

    Attributes:
        kind: ``infer``, ``batch_infer``, ``scoring`` or ``train``.
        subject: The model, or the method of scoring.
        urgency: Who goes first.
        actor: Who asked for it.
        timeout_s: Seconds from its making until it is given up; None is no limit.
        request: What was asked for.
        id: Its name.
        state: Where it is in its life.
        share: Share done, in [0, 1].
        message: What happens now, or why it ended.
        created: When it was made, and so on, in seconds since 1970.
        details: Last lines of its output.
        result: What came out, where that is a few numbers.
        steps: Parts that were timed.
        changes: Grows with every change that others see.
    """

    kind: str
    subject: str = ""
    urgency: Urgency = Urgency.CLICK
    actor: str = ""
    timeout_s: float | None = None
    request: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: State = "queued"
    share: float = 0.0
    message: str = ""
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    details: list[str] = field(default_factory=list)
    result: Any = None
    steps: list[Step] = field(default_factory=list)
    changes: int = 0
    _stopped_by: str = ""
    _born: float = field(default_factory=time.monotonic)
    _waited: float = 0.0
    _held: str = ""
    _span: tuple[float, float] = (0.0, 1.0)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    def asked(kind: str, subject: str, request: Mapping[str, Any], *, urgency: Urgency, actor: str, id: str = "") -> Job:
        """Make a job out of a client's request, whose ``timeout`` is in seconds, as MONAI Label's.

        Raises:
            UsageError: When the timeout is no number above 0.
        """
        timeout_s = request.get("timeout")
        if timeout_s is not None and not (isinstance(timeout_s, (int, float)) and 0 < timeout_s < 1e7):
            raise UsageError(f"timeout: seconds above 0 are wanted. Got {str(timeout_s)[:40]!r}.")
        return Job(kind, subject, urgency, actor, timeout_s, dict(request), id or uuid.uuid4().hex)

    @property
    def over(self) -> bool:
        """It has ended, one way or another."""
        return self.state in ("done", "failed", "cancelled")

    def cancel(self, by: str) -> None:
        """Ask it to stop; it does so at its next :meth:`check`."""
        self._stopped_by = self._stopped_by or by or "somebody"

    def check(self) -> None:
        """Stop here if it is to stop, and let a more urgent job go first if one waits.

        Raises:
            CancelledError: When somebody has cancelled it.
            DeadlineError: When its time is over.
        """
        self.stop_if_asked()
        if self._held:
            self._waited += turns_of(self._held).give_way(self, self.urgency, self.stop_if_asked)

    def stop_if_asked(self) -> None:
        """Stop here if it is to stop; see :meth:`check`."""
        if self._stopped_by:
            raise CancelledError(f"This {self.kind} job was cancelled by {self._stopped_by}.")
        if self.timeout_s is not None and time.monotonic() - self._born > self.timeout_s:
            raise DeadlineError(f"This {self.kind} job took longer than the {self.timeout_s:g} s that it was given.")

    def progress(self, share: float, message: str = "") -> None:
        """Tell how far it is; may raise what :meth:`check` raises.

        Args:
            share: Share done, in [0, 1].
            message: What happens now, without names of images.
        """
        self.check()
        start, width = self._span
        self.change(share=max(self.share, start + width * min(1.0, float(share))), message=message or self.message)

    def parts(self, items: Collection[Item], message: str = "part") -> Iterator[Item]:
        """Go through several parts alike; the progress told within one counts for that part."""
        outer, width = self._span, self._span[1] / max(1, len(items))
        try:
            for index, item in enumerate(items):
                self._span = (outer[0] + index * width, width)
                self.progress(0.0, f"{message} {index + 1} of {len(items)}")
                yield item
        finally:
            self._span = outer

    def change(self, **values: Any) -> None:
        """Set attributes, so that whoever watches sees it."""
        with self._lock:
            for name, value in values.items():
                setattr(self, name, value)
            self.changes += 1

    @contextmanager
    def turn(self, place: str) -> Iterator[None]:
        """Hold a place where one job works at a time, such as a device; may raise what :meth:`check` raises."""
        turns = turns_of(place)
        self.change(state="queued")
        self._waited += turns.take(self, self.urgency, self.stop_if_asked)
        outer, self._held = self._held, place
        self.change(state="running")
        try:
            yield
        finally:
            self._held = outer
            turns.leave(self)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a part of it."""
        start_ns, start, waited = time.time_ns(), time.monotonic(), self._waited
        try:
            yield
        finally:
            self.steps.append(Step(name, start_ns, max(0.0, time.monotonic() - start - (self._waited - waited))))

    def to_json(self) -> dict[str, Any]:
        """Tell what others may know."""
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
    """Give the job that this code runs for; outside of any, one that nobody watches."""
    return _current.get() or Job("call")


@contextmanager
def working_for(job: Job) -> Iterator[None]:
    """Let the code within run for a job."""
    token = _current.set(job)
    try:
        yield
    finally:
        _current.reset(token)
