"""Receive series, segment each when it is complete, send the results back; nothing is lost by a crash or an absent PACS."""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minivess.errors import MinivessError
from minivess.pacs.spool import SeriesSpool
from minivess.pacs.transfer import Peer, receive, send

#: The application's exit codes for a result and for a series that it refuses; others may be different the next time.
DONE, REFUSED = 0, 1
#: So often an application that failed is run again.
ATTEMPTS = 3
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 600.0
_POLL_S = 0.2
#: Characters of the application's last words that are kept.
_SAID = 2000
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What a listener does.

    Attributes:
        command: The application; input and output folder are put in at ``{in}`` and ``{out}``.
        peer: Where results are sent; None keeps them in the spool.
        host: Address to listen at.
        port: Port; 0 takes a free one.
        title: Our AE title.
        allowed: AE titles that may send; all when it is empty.
        quiet_s: A series is complete when no image has arrived for so long.
    """

    command: Sequence[str]
    peer: Peer | None
    host: str = "127.0.0.1"
    port: int = 11112
    title: str = "MINIVESS"
    allowed: Sequence[str] = ()
    quiet_s: float = 30.0


class Listener:
    """One server, one application at a time, one sender."""

    def __init__(self, spool: SeriesSpool, settings: Settings) -> None:
        """Start to receive.

        Args:
            spool: Queue on disk; what it holds is worked off.
            settings: What to do.

        Raises:
            OutputError: When the port is taken.
        """
        self._spool, self._settings = spool, settings
        self._stopped = threading.Event()
        self._child: subprocess.Popen[str] | None = None
        self._server = receive(spool, host=settings.host, port=settings.port, title=settings.title, allowed=settings.allowed)
        self.port = int(self._server.server_address[1])
        self._sender = threading.Thread(target=self._send_results, daemon=True)
        self._sender.start()

    def run(self) -> None:
        """Segment series until a stop is requested, then end everything; what is not done stays in the spool."""
        try:
            while not self._stopped.wait(_POLL_S):
                running = self._spool.take_complete(self._settings.quiet_s)
                if running is not None:
                    self._segment(running)
        finally:
            self.request_stop()
            self._server.shutdown()
            self._sender.join()
            self._spool.close()

    def request_stop(self) -> None:
        """Stop :meth:`run`, and the application that it waits for; a signal handler may call it."""
        self._stopped.set()
        if self._child is not None:
            self._child.terminate()

    def _segment(self, running: Path) -> None:
        images = sum(1 for _ in running.glob("*.dcm"))
        _logger.info("Series %s: %d images, is segmented.", running.name, images)
        for attempt in range(1, ATTEMPTS + 1):
            code, said = self._run_application(running)
            if code == DONE:
                _logger.info("Series %s: segmented.", running.name)
                return
            if self._stopped.is_set():
                return  # it goes on when the listener is started again
            if code == REFUSED:
                break
            _logger.warning("Series %s: the application ended with %d, attempt %d of %d.", running.name, code, attempt, ATTEMPTS)
        self._spool.refuse(running, said)
        _logger.warning("Series %s: no result, put aside in refused/. %s", running.name, said.splitlines()[0] if said else "")

    def _run_application(self, running: Path) -> tuple[int, str]:
        """Run the application on a series; return its exit code and what it said."""
        result = self._spool.new_result(running)
        paths = {"{in}": str(running), "{out}": str(result)}
        command = [paths.get(word, word) for word in self._settings.command]
        self._child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said = self._child.communicate()[1].strip()[-_SAID:]
        code, self._child = self._child.returncode, None
        if code == DONE:
            self._spool.finish(running, result)
        return code, said

    def _send_results(self) -> None:
        wait_s, peer = _FIRST_WAIT_S, self._settings.peer
        while peer is not None and not self._stopped.wait(_POLL_S):
            for result in self._spool.results()[:1]:
                try:
                    send(sorted(result.glob("*.dcm")), peer, title=self._settings.title)
                except (MinivessError, OSError) as error:
                    _logger.warning("Results wait: %s Tried again in %.0f s.", error, wait_s)
                    self._spool.put_last(result)
                    self._stopped.wait(wait_s)
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                else:
                    self._spool.mark_sent(result)
                    _logger.info("Series %s: results sent to %s.", result.name.partition("_")[0], peer.title)
                    wait_s = _FIRST_WAIT_S
