"""Receive series, segment each when it is complete, send the results back; nothing is lost by a crash or an absent PACS."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from minivess.errors import ABOUT_INPUT, ABOUT_PLACE, MinivessError, without_message
from minivess.pacs.entity import Peer
from minivess.pacs.receive import receive
from minivess.pacs.send import dicom_files, send
from minivess.pacs.spool import SeriesSpool
from minivess.pacs.tls import TlsFiles, calling_context, check_certificate, listening_context

#: The application says with these errors that the series is the reason; with all others, another try may succeed.
_SERIES_ERRORS = re.compile(rf"^(?:{'|'.join(ABOUT_INPUT)}): .*", re.MULTILINE | re.DOTALL)
#: And these are about the place: an engine that is down, a full disk. They pass, and no try counts.
_PLACE_ERRORS = re.compile(rf"^(?:{'|'.join(ABOUT_PLACE)}): ", re.MULTILINE)
#: So often an application that failed otherwise is run again, with longer and longer waits.
ATTEMPTS = 8
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 600.0
_POLL_S = 0.2
_CLEAN_S = 3600.0
_DAY_S = 86400.0
#: Bytes of the application's first words and of its last ones that are kept.
_SAID = 2000
_LATE = (
    "Images of this series arrived after others of it had been segmented. Send the series again, whole; or allow longer pauses: "
    "--quiet-s."
)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
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
        tls: Certificates, for both directions; None speaks in the clear.
        keep_refused_days: So long the images of a series without a result are kept.
    """

    command: Sequence[str]
    peer: Peer | None
    host: str = "127.0.0.1"
    port: int = 11112
    title: str = "MINIVESS"
    allowed: Sequence[str] = ()
    quiet_s: float = 30.0
    tls: TlsFiles | None = None
    keep_refused_days: float = 30.0


class _Waits:
    """When what has failed is tried again: after longer and longer waits."""

    def __init__(self) -> None:
        self._failed: dict[str, tuple[int, int, float]] = {}

    def failed(self, name: str, *, counts: bool = True) -> int:
        """Note a failure; return how many there were that count."""
        tries, counted, _ = self._failed.get(name, (0, 0, 0.0))
        wait_s = min(_FIRST_WAIT_S * 2 ** min(tries, 20), _LONGEST_WAIT_S)
        self._failed[name] = tries + 1, counted + counts, time.monotonic() + wait_s
        return counted + counts

    def done(self, name: str) -> None:
        self._failed.pop(name, None)

    def waiting(self) -> set[str]:
        return {name for name, (_, _, until) in self._failed.items() if time.monotonic() < until}


class Listener:
    """One server, one application at a time, one sender."""

    def __init__(self, spool: SeriesSpool, settings: Settings) -> None:
        """Start to receive.

        Args:
            spool: Queue on disk; what it holds is worked off.
            settings: What to do.

        Raises:
            InputError: When a certificate is not usable.
            OutputError: When the port is taken.
        """
        self._spool, self._settings = spool, settings
        if settings.tls:
            check_certificate(settings.tls)
        self._calls_by = calling_context(settings.tls) if settings.tls else None
        self._stopping = False  # a plain flag: a signal handler sets it
        self._child: subprocess.Popen[bytes] | None = None
        self._arrived: set[Path] = set()  # results that were sent, and could not be filed yet
        tls = listening_context(settings.tls) if settings.tls else None
        host, port, title, allowed = settings.host, settings.port, settings.title, settings.allowed
        self._server = receive(spool, host=host, port=port, title=title, allowed=allowed, tls=tls)
        self.port = int(self._server.server_address[1])
        self._sender = threading.Thread(target=self._send_results, daemon=True)
        self._sender.start()

    def run(self) -> None:
        """Segment series until a stop is requested, then end everything; what is not done stays in the spool."""
        waits, clean_at = _Waits(), time.monotonic()
        try:
            while not self._stopping:
                time.sleep(_POLL_S)
                if time.monotonic() >= clean_at:
                    self._forget_refused()
                    clean_at = time.monotonic() + _CLEAN_S
                running = self._spool.take_complete(self._settings.quiet_s, later=waits.waiting())
                if running is not None:
                    self._segment(running, waits)
        finally:
            self.request_stop()
            self._server.shutdown()
            self._sender.join(timeout=5)
            self._spool.close()

    def request_stop(self) -> None:
        """Stop :meth:`run`, and the application that it waits for; a signal handler may call it."""
        self._stopping = True
        if self._child is not None:
            self._child.terminate()

    def _segment(self, running: Path, waits: _Waits) -> None:
        name = running.name
        try:
            self._spool.complete_from_refused(running)
            if self._spool.comes_late(running):
                self._put_aside(running, _LATE)
                return
            _logger.info("Series %s: %d images, is segmented.", name, sum(1 for _ in running.glob("*.dcm")))
            result = self._spool.new_result(running)
            code, said = self._run_application(running, result)
            if code == 0 and not dicom_files(result):
                code, said = 1, "InputError: the application wrote no DICOM object."
            if code == 0:  # an application of others need not write a result.json
                self._spool.finish(running, result)
                waits.done(name)
                _logger.info("Series %s: segmented.", name)
                return
        except OSError as error:  # a full disk, an application that is gone
            code, said = 1, f"OutputError: {error.strerror or type(error).__name__}"
        if self._stopping:
            return  # it goes on when the listener is started again
        about_series, passes = _SERIES_ERRORS.search(said), _PLACE_ERRORS.search(said)
        attempt = waits.failed(name, counts=not passes)
        if about_series or attempt >= ATTEMPTS:
            waits.done(name)
            self._put_aside(running, about_series[0] if about_series else said)
        else:
            last = said.splitlines()[-1] if said else ""
            how_often = "it is tried again until it passes" if passes else f"try {attempt} of {ATTEMPTS}"
            _logger.warning("Series %s: the application ended with %d, %s. %s", name, code, how_often, last)

    def _put_aside(self, running: Path, reason: str) -> None:
        try:
            self._spool.refuse(running, reason)
        except (OSError, MinivessError) as error:
            _logger.warning("Series %s cannot be put aside: %s", running.name, type(error).__name__)
            time.sleep(_FIRST_WAIT_S)
            return
        _logger.warning("Series %s: no result, put aside in refused/. %s", running.name, reason.partition("\n")[0])

    def _forget_refused(self) -> None:
        days = self._settings.keep_refused_days
        try:
            for name in self._spool.forget_refused(days * _DAY_S):
                _logger.info("Series %s: refused %g days ago, its images are deleted.", name, days)
        except OSError as error:
            _logger.warning("What was refused cannot be deleted: %s", error.strerror or type(error).__name__)

    def _run_application(self, running: Path, result: Path) -> tuple[int, str]:
        """Run the application on a series; return its exit code and its last words."""
        paths = {"{in}": str(running), "{out}": str(result)}
        command = [paths.get(word, word) for word in self._settings.command]
        with tempfile.TemporaryFile() as errors:
            self._child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, preexec_fn=_end_with_the_listener)
            if self._stopping:
                self._child.terminate()
            code = self._child.wait()
            self._child = None
            return code, _first_and_last(errors)

    def _send_results(self) -> None:
        waits, peer = _Waits(), self._settings.peer
        while peer is not None and not self._stopping:
            time.sleep(_POLL_S)
            try:
                later = waits.waiting()
                for result in [r for r in self._spool.results() if r.name not in later][:1]:
                    self._try_to_send(result, peer, waits)
            except Exception as error:  # noqa: BLE001 (a disk that does not answer; sending goes on when it does)
                _logger.warning("The results cannot be listed: %s", without_message(error))
                time.sleep(_FIRST_WAIT_S)

    def _try_to_send(self, result: Path, peer: Peer, waits: _Waits) -> None:
        try:
            self._send_one(result, peer, waits)
        except Exception as error:  # noqa: BLE001 (whatever it is, the next result must be sent)
            waits.failed(result.name)
            _logger.warning("A result could not be sent: %s", without_message(error))

    def _send_one(self, result: Path, peer: Peer, waits: _Waits) -> None:
        name = result.name.partition("_")[0]
        left: list[str] = []
        if result not in self._arrived:
            try:
                left = send(dicom_files(result), peer, title=self._settings.title, tls=self._calls_by)
            except MinivessError as error:
                waits.failed(result.name)
                _logger.warning("Series %s: results wait. %s", name, error)
                return
            self._arrived.add(result)
        self._spool.mark_sent(result)
        self._arrived.discard(result)
        waits.done(result.name)
        _logger.info("Series %s: results sent to %s.", name, peer.title)
        for kind in left:
            _logger.warning("Series %s: %s does not take objects of the kind %s.", name, peer.title, kind)


def _first_and_last(stream: IO[bytes]) -> str:
    """Return what a program said, without the middle of much."""
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    first = stream.read(_SAID)
    stream.seek(max(_SAID, length - _SAID))
    between = b"\n...\n" if length > 2 * _SAID else b""
    return (first + between + stream.read()).decode("utf-8", "replace").strip()


def _end_with_the_listener() -> None:
    """Run in the child before the application: it gets SIGTERM when the listener dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
