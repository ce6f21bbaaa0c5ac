"""Work off the main thread: one thing after the other; results come back on the main thread, from a timer.

An object of Qt or MRML whose last reference goes in a thread can take Slicer down with it. So the thread is given the work alone,
which must know of no such object; what is to happen with its result stays here.
"""

import itertools
import logging
import queue
import threading
from typing import Any, NamedTuple

import qt

from .call import Call, CancelledError

POLL_MS = 20


class Waiting(NamedTuple):
    """What is to happen with the result of a call."""

    call: Call
    done: Any
    failed: Any
    progress: Any


class Worker:
    """Runs work in order. Only the timer's slot touches MRML and Qt, and it runs on the main thread."""

    def __init__(self):
        self._told, self._waiting, self._numbers = queue.SimpleQueue(), {}, itertools.count()
        self.onBusy = lambda busy: None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.deliver)
        self._start()

    @property
    def busy(self):
        """Whether something is under way."""
        return bool(self._waiting)

    def submit(self, work, done, failed, progress=None):
        """Run `work(call)` in the thread, then `done(result)` or `failed(error)` here, unless it was cancelled meanwhile.

        What the work tells on its way is given to `progress`.
        """
        number, told = next(self._numbers), self._told
        call = Call(lambda value: told.put((number, "progress", value)))
        self._waiting[number] = Waiting(call, done, failed, progress)
        self._asked.put((number, work, call))
        self._timer.start()
        self.onBusy(True)

    def cancel(self):
        """Forget all that is under way: what still comes back is dropped, what has not begun is not begun.

        What is asked next does not wait for an answer that may never come: it gets a thread of its own.
        """
        for waiting in self._waiting.values():
            waiting.call.cancel()
        self._waiting.clear()
        self._asked.put(None)
        self._start()

    def stop(self):
        """End the thread, as soon as what it waits for has come or failed; nobody is told of that any more."""
        self.cancel()
        self._asked.put(None)
        self._timer.stop()
        self.onBusy = lambda busy: None

    def deliver(self):
        """Hand over what is done."""
        while True:
            try:
                number, kind, value = self._told.get_nowait()
            except queue.Empty:
                break
            waiting = self._waiting.get(number)
            if waiting is None:
                continue
            if kind != "progress":
                del self._waiting[number]
            hand_over = getattr(waiting, kind)
            if hand_over:
                hand_over(value)
        if not self._waiting:
            self._timer.stop()
            self.onBusy(False)

    def _start(self):
        self._asked = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(self._asked, self._told), daemon=True).start()


def _serve(asked, told):
    while (item := asked.get()) is not None:
        number, work, call = item
        try:
            call.check()
            kind, value = "done", work(call)
        except Exception as error:  # noqa: BLE001 - whatever went wrong is said on the main thread
            if not isinstance(error, CancelledError):
                logging.debug("MinIVess Review: a request failed: %s", type(error).__name__)
            kind, value = "failed", error.with_traceback(None)  # a traceback keeps alive all that its frames know
        item = work = None
        told.put((number, kind, value))
        value = None
