"""Run tasks off the main thread, one after the other; results come back on the main thread, from a timer.

A Qt or MRML object whose last reference is dropped in a thread can crash Slicer. So the thread gets the task alone,
which must not refer to such an object; the functions that handle the result stay here.
"""

import itertools
import logging
import queue
import threading
from typing import Any, NamedTuple

import qt

from .task_context import CancelledError, TaskContext

POLL_MS = 20


class Waiting(NamedTuple):
    """The functions that handle the result of a task."""

    context: TaskContext
    done: Any
    failed: Any
    progress: Any


class Worker:
    """Runs tasks in order. Only the timer's slot touches MRML and Qt, and it runs on the main thread."""

    def __init__(self):
        self._results, self._waiting, self._numbers = queue.SimpleQueue(), {}, itertools.count()
        self.onBusy = lambda busy: None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.deliver)
        self._start_thread()

    @property
    def busy(self):
        """Whether a task is running or waiting."""
        return bool(self._waiting)

    def submit(self, work, done, failed, progress=None):
        """Run `work(context)` in the thread, then `done(result)` or `failed(error)` here, unless it was cancelled meanwhile.

        Values that the task reports are passed to `progress`.
        """
        number, results = next(self._numbers), self._results
        context = TaskContext(lambda value: results.put((number, "progress", value)))
        self._waiting[number] = Waiting(context, done, failed, progress)
        self._tasks.put((number, work, context))
        self._timer.start()
        self.onBusy(True)

    def cancel(self):
        """Drop all tasks: results that still arrive are ignored, tasks that wait are not started.

        The next task gets a new thread: it does not wait for a reply that may never come.
        """
        for waiting in self._waiting.values():
            waiting.context.cancel()
        self._waiting.clear()
        self._tasks.put(None)
        self._start_thread()

    def stop(self):
        """Drop all tasks, and end the thread as soon as its current request has returned."""
        self.cancel()
        self._tasks.put(None)
        self._timer.stop()
        self.onBusy = lambda busy: None

    def deliver(self):
        """Pass results to the functions that wait for them."""
        while True:
            try:
                number, kind, value = self._results.get_nowait()
            except queue.Empty:
                break
            waiting = self._waiting.get(number)
            if waiting is None:
                continue
            if kind != "progress":
                del self._waiting[number]
            handler = getattr(waiting, kind)
            if handler:
                handler(value)
        if not self._waiting:
            self._timer.stop()
            self.onBusy(False)

    def _start_thread(self):
        self._tasks = queue.SimpleQueue()
        threading.Thread(target=_run_tasks, args=(self._tasks, self._results), daemon=True).start()


def _run_tasks(tasks, results):
    while (item := tasks.get()) is not None:
        number, work, context = item
        try:
            context.check()
            kind, value = "done", work(context)
        except Exception as error:  # noqa: BLE001 - every failure is shown on the main thread
            if not isinstance(error, CancelledError):
                logging.debug("MinIVess Review: a request failed: %s", type(error).__name__)
            kind, value = "failed", error.with_traceback(None)  # a traceback keeps alive all that its frames refer to
        item = work = None
        results.put((number, kind, value))
        value = None
