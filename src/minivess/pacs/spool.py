"""The listener's queue on disk: each state is a folder, and a series is in the next one by one rename.

What is deleted is first moved to ``partial``, which is emptied at the start: no half-deleted series is taken for a whole.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Hashable, Iterable
from pathlib import Path

from pydicom.uid import UID

from minivess.errors import ConflictError, InputError
from minivess.paths import fsync_file, fsync_folder, write_json
from minivess.process_lock import ProcessLock

#: Folders of a spool. ``incoming``: series that may still grow. ``running``: they are segmented. ``results``: to be sent.
#: ``sent``: the index of each result that has arrived. ``refused``: series without a result, with the reason.
STATES = ("incoming", "running", "results", "sent", "refused")
_INSTANCES, _REASON = "instances.json", "reason.json"
_RESULT = "result_name.json"  # in a running series: the result that is queued next, or was
#: So long a sender that stays connected, and sends nothing of it, holds a series up.
_LONGEST_OPEN_S = 3600.0
#: Readable by the user that a container runs as, whatever the umask of a service; the spool itself is closed to others.
_FOLDER_MODE, _FILE_MODE = 0o755, 0o644
_LOCK = "lock"  # the first file of every spool


class SeriesSpool:
    """Series on their way through the listener; a folder for each, named by its SeriesInstanceUID. Any thread may use it."""

    def __init__(self, folder: Path) -> None:
        """Open a spool, or make one.

        Args:
            folder: Its folder; nobody else may look into it, since it holds images of patients.

        Raises:
            InputError: When the folder holds other files: a spool deletes what is in some of its folders.
            ConflictError: When another listener has it.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        others = [path for path in folder.iterdir() if path.name != "lost+found" and not path.name.startswith(".")]
        if others and not (folder / _LOCK).is_file():
            raise InputError(f"{folder} is not empty, and no spool of a listener. Name a new folder: --spool FOLDER.")
        folder.chmod(0o700)  # what is inside may be read by the user that a container runs as
        self._lock = threading.Lock()
        self._open: dict[Hashable, set[str]] = {}
        self._process_lock = ProcessLock(folder / _LOCK)
        if not self._process_lock.take(exclusive=True):
            holder = self._process_lock.holder()
            raise ConflictError(f"Another listener has the spool {folder}: {holder}. Choose another --spool.")
        self._process_lock.sign("listener")
        for state in (*STATES, "partial"):
            _make_folder(folder / state)
        for left in (folder / "partial").iterdir():
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
        for running in self._series("running"):
            if self._is_queued(running):  # killed between the result and the end of its images
                self._delete(running)
        self._started = time.time()

    def close(self) -> None:
        """Release the spool for another listener."""
        self._process_lock.release()

    def count(self) -> dict[str, int]:
        """Return how many series are in each state."""
        return {state: len(self._series(state)) for state in STATES}

    def add(self, series_uid: str, instance_uid: str, content: bytes, *, sender: Hashable = None) -> None:
        """Keep one received image; it is on the disk when this returns. One that is there already is replaced.

        Args:
            series_uid: SeriesInstanceUID.
            instance_uid: SOPInstanceUID.
            content: The file.
            sender: Its series are not complete before :meth:`end_sender`.

        Raises:
            InputError: When a UID is not valid.
            OSError: When it cannot be written.
        """
        for uid in (series_uid, instance_uid):
            if not UID(uid).is_valid:
                raise InputError("SeriesInstanceUID and SOPInstanceUID must be valid UIDs. The image was not kept.")
        temporary = self.folder / "partial" / f"{uuid.uuid4().hex}.dcm"
        temporary.write_bytes(content)
        temporary.chmod(_FILE_MODE)
        fsync_file(temporary)
        with self._lock:
            if sender is not None:
                self._open.setdefault(sender, set()).add(series_uid)
            folder = self.folder / "incoming" / series_uid
            _make_folder(folder)
            temporary.replace(folder / f"{instance_uid}.dcm")
            fsync_folder(folder)
            fsync_folder(folder.parent)

    def end_sender(self, sender: Hashable) -> None:
        """Forget a sender: what it has sent may be complete."""
        with self._lock:
            self._open.pop(sender, None)

    def take_complete(self, quiet_s: float, *, later: Iterable[str] = ()) -> Path | None:
        """Move the next complete series to ``running``: the one that has waited longest. Those that are there already go first.

        Args:
            quiet_s: A series is complete when no image of it has arrived for so long, nor has the spool been opened since, and
                nobody who sent one is still connected; one that stays connected is waited for an hour.
            later: Series in ``running`` that are passed by.

        Returns:
            Its folder in ``running``; None when there is none.
        """
        with self._lock:
            running = [folder for folder in self._series("running") if folder.name not in set(later)]
            if running:
                return running[0]
            growing = set().union(*self._open.values())
            for folder in sorted(self._series("incoming"), key=lambda folder: folder.stat().st_mtime):
                target = self.folder / "running" / folder.name
                # Who was sending when the listener went down has not had the time to come back.
                quiet_since = time.time() - max(folder.stat().st_mtime, self._started)
                wait_s = max(quiet_s, _LONGEST_OPEN_S) if folder.name in growing else quiet_s
                if quiet_since >= wait_s and not target.exists():
                    return folder.rename(target)
        return None

    def comes_late(self, running: Path) -> bool:
        """Return whether these are not all images of a series of which others were segmented before."""
        return not self._earlier(running.name) <= _names(running)

    def complete_from_refused(self, running: Path) -> None:
        """Bring back the images of a series that were refused before the rest of it arrived: it is segmented whole.

        Not where some of them came again: then the series was sent again, and what is missing was left out on purpose.
        """
        refused = self.folder / "refused" / running.name
        if refused.is_dir() and _names(refused).isdisjoint(_names(running)):
            for file in refused.glob("*.dcm"):
                file.replace(running / file.name)
            self._delete(refused)

    def new_result(self, running: Path) -> Path:
        """Return a new folder for the result of a series, which is not made; nobody else writes there."""
        return self.folder / "partial" / f"{running.name}_{time.time_ns()}"

    def finish(self, running: Path, result: Path) -> None:
        """Queue a result to be sent, and forget the images.

        Args:
            running: Folder of the series.
            result: Folder of its result, see :meth:`new_result`.
        """
        write_json(result / _INSTANCES, sorted(_names(running)))
        write_json(running / _RESULT, result.name)
        result.rename(self.folder / "results" / result.name)
        refused = self.folder / "refused" / running.name
        was_refused = _names(refused) <= _names(running)  # it was sent again, and is done
        self._delete(running)  # first: what runs is segmented again after a kill
        if was_refused:
            self._delete(refused)

    def refuse(self, running: Path, reason: str) -> None:
        """Move a series aside, with the reason beside its images, and beside those of it that were refused before.

        Args:
            running: Folder of the series.
            reason: Why there is no result.
        """
        target = self.folder / "refused" / running.name
        if target.is_dir():
            for file in target.glob("*.dcm"):
                if not (running / file.name).exists():
                    file.replace(running / file.name)
            self._delete(target)
        write_json(running / _REASON, {"reason": reason})
        running.rename(target)

    def forget_refused(self, older_than_s: float) -> list[str]:
        """Delete the images of series that were refused so long ago; return their SeriesInstanceUIDs.

        Args:
            older_than_s: Seconds since the series was put aside.
        """
        before = time.time() - older_than_s
        reasons = [folder / _REASON for folder in self._series("refused")]
        old = [reason.parent for reason in reasons if reason.is_file() and reason.stat().st_mtime < before]
        for folder in old:
            self._delete(folder)
        return [folder.name for folder in old]

    def results(self) -> list[Path]:
        """Return the results that are to be sent, the oldest first."""
        return sorted(self._series("results"), key=lambda folder: folder.stat().st_mtime)

    def mark_sent(self, result: Path) -> None:
        """Forget the files of a result that has arrived; its index stays."""
        target = self.folder / "sent" / result.name.partition("_")[0]
        target.mkdir(exist_ok=True)
        for name in ("result.json", _INSTANCES):
            if (result / name).exists():
                (result / name).replace(target / name)
        self._delete(result)

    def _series(self, state: str) -> list[Path]:
        return sorted(path for path in (self.folder / state).iterdir() if path.is_dir() and not path.name.startswith("."))

    def _earlier(self, series_uid: str) -> set[str]:
        """Return the images of a series that was segmented before."""
        for state in ("results", "sent"):
            for folder in reversed(self._series(state)):
                if folder.name.partition("_")[0] == series_uid and (folder / _INSTANCES).exists():
                    return set(json.loads((folder / _INSTANCES).read_text()))
        return set()

    def _is_queued(self, running: Path) -> bool:
        """Return whether the result of these images is queued; nothing is sent before a spool is open."""
        mark = running / _RESULT
        return mark.is_file() and (self.folder / "results" / str(json.loads(mark.read_text()))).is_dir()

    def _delete(self, folder: Path) -> None:
        if not folder.exists():
            return
        gone = folder.rename(self.folder / "partial" / f"{folder.name}_{uuid.uuid4().hex}")
        shutil.rmtree(gone, ignore_errors=True)


def _names(folder: Path) -> set[str]:
    return {os.path.splitext(file.name)[0] for file in folder.glob("*.dcm")}


def _make_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(_FOLDER_MODE)
