"""What a task in the worker's thread knows of the window."""

import threading


class CancelledError(Exception):
    """The user no longer waits for the result."""


class TaskContext:
    """Tells a task whether the user still waits; the task reports its progress through it."""

    def __init__(self, report=lambda value: None):
        self.report, self._cancelled = report, threading.Event()

    def cancel(self):
        """Mark the task as cancelled."""
        self._cancelled.set()

    def check(self):
        """Raise CancelledError if the task was cancelled."""
        self.wait(0)

    def wait(self, seconds):
        """Wait, or raise CancelledError as soon as the task is cancelled."""
        if self._cancelled.wait(seconds):
            raise CancelledError
