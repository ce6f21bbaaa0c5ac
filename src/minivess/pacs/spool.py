"""The listener's queue on disk: every state is a folder, every change one rename, so that nothing is lost however it ends."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

from pydicom.uid import UID

from minivess.errors import ConflictError, InputError
from minivess.paths import atomic_file, write_json
from minivess.process_lock import ProcessLock

#: Folders of a spool. ``incoming``: series that may still grow. ``running``: they are segmented. ``results``: to be sent.
#: ``sent``: one small file for each series whose results have arrived. ``refused``: series that the MAP refused, with the reason.
STATES = ("incoming", "running", "results", "sent", "refused")


class SeriesSpool:
    """Series on their way through the listener; a folder for each, named by its SeriesInstanceUID. Any thread may use it."""

    def __init__(self, folder: Path) -> None:
        """Open a spool, or make one.

        Args:
            folder: Its folder; nobody else may read it, since it holds images of patients.

        Raises:
            ConflictError: When another listener has it.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._process_lock = ProcessLock(folder / "lock")
        if not self._process_lock.take(exclusive=True):
            raise ConflictError(
                f"Another listener has the spool {folder}: {self._process_lock.holder()}. Choose another --spool."
            )
        self._process_lock.sign("listener")
        for state in STATES:
            (folder / state).mkdir(exist_ok=True, mode=0o700)
        shutil.rmtree(folder / "partial", ignore_errors=True)
        (folder / "partial").mkdir(mode=0o700)

    def close(self) -> None:
        """Release the spool for another listener."""
        self._process_lock.release()

    def count(self) -> dict[str, int]:
        """Return how many series are in each state."""
        return {state: sum(1 for _ in (self.folder / state).iterdir()) for state in STATES}

    def add(self, series_uid: str, instance_uid: str, content: bytes) -> None:
        """Keep one received image; it is on the disk when this returns. One that is there already is replaced.

        Args:
            series_uid: SeriesInstanceUID.
            instance_uid: SOPInstanceUID.
            content: The file.

        Raises:
            InputError: When a UID is not valid.
            OutputError: When it cannot be written.
        """
        for uid in (series_uid, instance_uid):
            if not UID(uid).is_valid:
                raise InputError("SeriesInstanceUID and SOPInstanceUID must be valid UIDs. The image was not kept.")
        with self._lock:
            folder = self.folder / "incoming" / series_uid
            folder.mkdir(exist_ok=True, mode=0o700)
            with atomic_file(folder / f"{instance_uid}.dcm") as temporary:
                temporary.write_bytes(content)

    def take_complete(self, quiet_s: float) -> Path | None:
        """Move the next complete series to ``running``: the one that has waited longest. One that is there already goes first.

        Args:
            quiet_s: A series is complete when no image of it has arrived for so long.

        Returns:
            Its folder in ``running``; None when there is none.
        """
        with self._lock:
            if left := sorted((self.folder / "running").iterdir()):  # of a listener that was stopped or killed
                return left[0]
            waiting = sorted((folder.stat().st_mtime, folder) for folder in (self.folder / "incoming").iterdir())
            for changed, folder in waiting:
                if time.time() - changed >= quiet_s:
                    return folder.rename(self.folder / "running" / folder.name)
        return None

    def new_result(self, running: Path) -> Path:
        """Return a new folder for the result of a series, which is not made; nobody else writes there."""
        return self.folder / "partial" / f"{running.name}_{time.time_ns()}"

    def finish(self, running: Path, result: Path) -> None:
        """Queue a result to be sent, and forget the images.

        Args:
            running: Folder of the series.
            result: Folder of its result, see :meth:`new_result`.
        """
        result.rename(self.folder / "results" / result.name)
        shutil.rmtree(running)

    def refuse(self, running: Path, reason: str) -> None:
        """Move a series aside, with the reason beside its images.

        Args:
            running: Folder of the series.
            reason: Why there is no result.
        """
        target = self.folder / "refused" / running.name
        shutil.rmtree(target, ignore_errors=True)
        write_json(running / "reason.json", {"reason": reason})
        running.rename(target)

    def results(self) -> list[Path]:
        """Return the results that are to be sent, the one that was tried least recently first."""
        return sorted((self.folder / "results").iterdir(), key=lambda folder: folder.stat().st_mtime)

    def put_last(self, result: Path) -> None:
        """Move a result behind the others: what a PACS does not take must not hold them up."""
        os.utime(result)

    def mark_sent(self, result: Path) -> None:
        """Forget the files of a result that has arrived; its index stays."""
        index = result / "result.json"
        if index.exists():
            index.replace(self.folder / "sent" / f"{result.name}.json")
        shutil.rmtree(result)
