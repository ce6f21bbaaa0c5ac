"""Work off the main thread: one thread, one thing after the other; results come back on the main thread from a timer."""

import queue
import threading

import qt

from .client import Cancel

POLL_MS = 20


class Worker:
    """Runs requests in order. Only the timer's slot touches MRML and Qt, and it runs on the main thread."""

    def __init__(self):
        self._asked, self._done = queue.Queue(), queue.Queue()
        self._epoch, self._open, self._cancel = 0, 0, Cancel()
        self.onBusy = lambda busy: None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.deliver)
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def busy(self):
        """Whether something is under way."""
        return self._open > 0

    def submit(self, work, done, failed):
        """Run `work(cancel)` in the thread, then `done(result)` or `failed(error)` here, unless it was cancelled meanwhile."""
        self._open += 1
        self._timer.start()
        self.onBusy(True)
        self._asked.put((self._epoch, self._cancel, work, done, failed))

    def later(self, call, *values):
        """From the worker's thread: call something on the main thread."""
        self._done.put((self._epoch, call, values, False))

    def cancel(self):
        """Forget all that is under way: what still comes back is dropped, what has not begun is not begun."""
        self._cancel.cancel()
        self._cancel = Cancel()
        self._epoch += 1

    def stop(self):
        """End the thread."""
        self.cancel()
        self._asked.put(None)
        self._timer.stop()

    def deliver(self):
        """Hand over what is done."""
        while True:
            try:
                epoch, call, values, last = self._done.get_nowait()
            except queue.Empty:
                break
            if last:
                self._open -= 1
            if epoch == self._epoch:
                call(*values)
        if not self._open:
            self._timer.stop()
            self.onBusy(False)

    def _run(self):
        while (asked := self._asked.get()) is not None:
            epoch, cancel, work, done, failed = asked
            try:
                cancel.check()
                result = (done, (work(cancel),))
            except Exception as error:  # noqa: BLE001 - whatever went wrong is said on the main thread
                result = (failed, (error,))
            self._done.put((epoch, *result, True))
