"""What a piece of work in the thread knows of the window."""

import threading


class CancelledError(Exception):
    """The user no longer waits."""


class Call:
    """Tells the work whether anybody still waits for it; the work tells how far it is."""

    def __init__(self, tell=lambda value: None):
        self.tell, self._given_up = tell, threading.Event()

    def cancel(self):
        """Say that nobody waits any more."""
        self._given_up.set()

    def check(self):
        """Stop here where nobody waits any more."""
        self.wait(0)

    def wait(self, seconds):
        """Wait a while, or stop here as soon as nobody waits any more."""
        if self._given_up.wait(seconds):
            raise CancelledError
