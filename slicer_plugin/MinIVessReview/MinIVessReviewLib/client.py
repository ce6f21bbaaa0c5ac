"""Requests to a MinIVess server, or to a stock MONAI Label server as far as it supports them. No Qt: any thread may use it."""

import email.message
import json
import threading
import uuid
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import requests  # comes with Slicer
from slicer.i18n import tr as _

from .task_context import CancelledError

# Translated when the module is loaded: `tr` calls Qt, and these are used in a thread.
NO_REPLY = _("The server {url} does not answer. Is it running?")
TIMED_OUT = _("The server {url} did not answer in time.")
CONNECTION_LOST = _("The connection was lost. Try again.")
UNREADABLE = _("The reply of the server {url} could not be read. Try again.")
INVALID_TOKEN = _("The token is not valid (any more). Enter a new one and connect again; your work is saved.")
OTHER_STATUS = _("The server answered {status}: {text}")


class ServerError(Exception):
    """A request that failed: the server's message, and its HTTP status; 0 if no reply came."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status

    @property
    def temporary(self):
        """Whether the same request may succeed later: no reply, an invalid token, an overloaded or a failing server."""
        return self.status in (0, 401, 408, 429) or self.status >= 500


class ServerInfo(NamedTuple):
    """What a server offers.

    `models` segment without clicks. `capabilities` is the reply to GET /review/capabilities: tools, states and limits. It is
    empty for a stock MONAI Label server, which has no queue.
    """

    images: list
    models: list
    trainers: list
    strategies: list
    capabilities: dict

    @property
    def has_queue(self):
        """Whether the server has a queue of regions."""
        return bool(self.capabilities)

    @property
    def clicks(self):
        """How many clicks each tool needs, by the tool's name."""
        return {tool["name"]: tool["clicks"] for tool in self.capabilities.get("tools", ())}

    @property
    def next_image_strategy(self):
        """The strategy that chooses the next image."""
        return self.capabilities.get("next_image_strategy") or self.strategies[0]


class Client:
    """A server and a user's token."""

    def __init__(self, url, token="", timeout_s=30.0):
        self.url, self.timeout_s, self.user = url.rstrip("/"), timeout_s, ""
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc file would replace the token
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    # ---- any server -------------------------------------------------------------------------------------------------------

    def connect(self):
        """Return what the server offers."""
        info, capabilities = self.json("GET", "/info/"), self._capabilities()
        if capabilities:
            self.user = self.json("GET", "/auth/token/valid")["username"]
        return ServerInfo(
            images=sorted(self.json("GET", "/datastore/?output=all").get("objects", {})),
            models=[name for name, model in info.get("models", {}).items() if model.get("type") == "segmentation"],
            trainers=list(info.get("trainers", {})),
            strategies=list(info.get("strategies", {})) or ["random"],
            capabilities=capabilities,
        )

    def _capabilities(self):
        try:
            return self.json("GET", "/review/capabilities")
        except ServerError as error:
            if error.status != 404:
                raise
            return {}  # a stock MONAI Label server

    def next_image(self, strategy):
        """Return the image that should be labelled next; "" if none is left."""
        return self.json("POST", f"/activelearning/{quote(strategy)}", body={}).get("id", "")

    def predict(self, image, model, context, folder=None):
        """Segment an image by a model and report the progress. The mask is written to a file in `folder`, if given."""
        job = uuid.uuid4().hex
        done = threading.Event()
        threading.Thread(target=self._follow, args=(job, done, context), daemon=True).start()
        try:
            path = f"/infer/{quote(model)}?image={quote(image)}&output={'image' if folder else 'json'}"
            target = folder and Path(folder) / "mask"
            return self.download("POST", path, target, context, headers={"X-Request-ID": job}, timeout_s=3600)
        finally:
            done.set()

    def submit(self, image, file, revision=None):
        """Send a label file, based on a revision. A MinIVess server stores the same label once, also if it is sent twice."""
        headers = {} if revision is None else {"If-Match": str(revision)}
        with open(file, "rb") as stream:
            path = f"/datastore/label?image={quote(image)}&tag=final"
            return self.json("PUT", path, files={"label": stream}, data={"params": "{}"}, headers=headers, timeout_s=600)

    def train(self, model):
        """Start a training."""
        return self.json("POST", f"/train/{quote(model)}", body={})

    def training(self, model):
        """Return the status of the training ({} if there is none), and its results so far."""
        try:
            status = self.json("GET", "/train/")
        except ServerError as error:
            if error.status != 404:
                raise
            status = {}
        return status, self.json("GET", "/info/").get("train_stats", {}).get(model) or {}

    def stop_training(self):
        """Stop the training."""
        self.json("DELETE", "/train/")

    def image_file(self, image, folder, context):
        """Download an image in the format that the server stores. Return the file."""
        return self.download("GET", f"/datastore/image?image={quote(image)}", Path(folder) / "image", context)

    def add_image(self, image, file):
        """Send a volume file as a new image."""
        with open(file, "rb") as stream:
            files = {"file": (f"{image}.nii.gz", stream)}
            return self.json("PUT", f"/datastore/image?image={quote(image)}", files=files, data={"params": "{}"}, timeout_s=600)

    # ---- a server with a queue --------------------------------------------------------------------------------------------

    def image_status(self, image):
        """Return grid, progress and advice of an image under review."""
        return self.json("GET", f"/review/images/{quote(image)}")

    def volume(self, image, name, target, context):
        """Download `volume`, `mask`, `draft/mask` or `heat` as NRRD on the image's grid."""
        self.download("GET", f"/review/images/{quote(image)}/{name}?format=nrrd", target, context)

    def queue(self, image, limit):
        """List the regions of an image, most expected errors first; at most `limit`."""
        return self.json("GET", f"/review/?image={quote(image)}&limit={limit}")["places"]

    def best_item(self):
        """Return the region with the most expected errors of all images that nobody has reserved or answered, or None."""
        return next(iter(self.json("GET", "/review/?state=pending&limit=1")["places"]), None)

    def next_item(self, image):
        """Reserve the next region. `place` in the reply is None if no region is left."""
        return self.json("POST", f"/review/next?image={quote(image)}")

    def take(self, item_id):
        """Reserve a certain region."""
        return self.json("POST", f"/review/places/{quote(item_id)}/take")

    def suspected_errors(self, item_id):
        """Return the errors that are suspected in a region, the worst first."""
        return self.json("GET", f"/review/places/{quote(item_id)}/errors")["errors"]

    def undo_answer(self, item_id):
        """Undo an answer."""
        return self.json("DELETE", f"/review/places/{quote(item_id)}/answer?take=true")

    def release(self, item_id):
        """Release a region without an answer."""
        return self.json("POST", f"/review/places/{quote(item_id)}/release")

    def draft(self, image, action, body=None):
        """Change the draft: `undo`, `redo`, or `prompt` with a tool and clicks."""
        return self.json("POST", f"/review/images/{quote(image)}/draft/{action}", body=body)

    # ---- requests ---------------------------------------------------------------------------------------------------------

    def json(self, method, path, body=None, **options):
        """Send a request and return its reply, read as JSON."""
        reply = self._request(method, path, json=body, **options)
        try:
            return reply.json() if reply.content else {}
        except ValueError as error:
            raise ServerError(0, UNREADABLE.format(url=self.url)) from error

    def download(self, method, path, target, context, **options):
        """Write a reply to a file, in pieces. Return the file, with the suffix that the server states.

        Stops if the user cancels.
        """
        with self._request(method, path, stream=True, **options) as reply:
            target = target and target.with_suffix(target.suffix or _suffix(reply))
            stream = open(target, "wb") if target else None
            try:
                for piece in reply.iter_content(1 << 18):
                    context.check()
                    if stream:
                        stream.write(piece)
            except requests.RequestException as error:
                raise ServerError(0, CONNECTION_LOST) from error
            finally:
                if stream:
                    stream.close()
        return target

    def _request(self, method, path, timeout_s=None, **options):
        try:
            reply = self._session.request(method, self.url + path, timeout=(5, timeout_s or self.timeout_s), **options)
        except requests.Timeout as error:
            raise ServerError(0, TIMED_OUT.format(url=self.url)) from error
        except (requests.RequestException, ValueError) as error:
            raise ServerError(0, NO_REPLY.format(url=self.url)) from error
        if not reply.ok:
            raise ServerError(reply.status_code, _error_message(reply))
        return reply

    def _follow(self, job, done, context):
        """Report the progress of a job until it is over; stop the job if the user cancels."""
        try:
            while not done.is_set():
                context.wait(0.5)
                try:
                    context.report(self.json("GET", f"/jobs/{job}").get("progress", 0.0))
                except ServerError:
                    continue  # it has not started, or this server has no jobs
        except CancelledError:
            try:
                self.json("DELETE", f"/jobs/{job}")
            except ServerError:
                return  # it is over


def _suffix(reply):
    """Return the suffix of the file that a server sends."""
    header = email.message.Message()
    header["Content-Disposition"] = reply.headers.get("Content-Disposition", "")
    name = header.get_filename() or ""
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def _error_message(reply):
    if reply.status_code == 401:
        return INVALID_TOKEN
    try:
        detail = reply.json()["detail"]
        return detail if isinstance(detail, str) else json.dumps(detail)
    except (ValueError, KeyError, TypeError):
        return OTHER_STATUS.format(status=reply.status_code, text=reply.text[:300])
