"""Requests to a MinIVess server, or to a stock MONAI Label server as far as that goes; no Qt: it may run in any thread."""

import email.message
import json
import threading
import uuid
from pathlib import Path
from urllib.parse import quote

import requests  # comes with Slicer
from slicer.i18n import tr as _

from .call import CancelledError

# Words are looked up when the module is loaded: `tr` asks Qt, and these are said in a thread.
NO_ANSWER = _("The server {url} does not answer. Is it running?")
TOO_LATE = _("The server {url} did not answer in time.")
BROKEN_OFF = _("The connection broke off. Try again.")
BAD_TOKEN = _("The token is not valid (any more). Enter a new one and connect again; your work is kept.")
OTHER = _("The server answered {status}: {text}")


class ServerError(Exception):
    """What a server refused, in its own words; status 0 where nothing came back."""

    def __init__(self, status, words):
        super().__init__(words)
        self.status = status

    @property
    def passing(self):
        """Whether the same request may work later: nobody answered, or the server is overloaded or ill, or the token ran out."""
        return self.status in (0, 401, 408, 429) or self.status >= 500


class Client:
    """A server and who asks it."""

    def __init__(self, url, token="", timeout_s=30.0):
        self.url, self.timeout_s, self.person = url.rstrip("/"), timeout_s, ""
        self._session = requests.Session()
        self._session.trust_env = False  # a netrc would replace the token
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    # ---- any server -------------------------------------------------------------------------------------------------------

    def connect(self):
        """Ask what the server can do: `review` (it has a queue), `models` that segment by themselves, `images` and more."""
        info, review = self.json("GET", "/info/"), self._has_queue()
        if review:
            self.person = self.json("GET", "/auth/token/valid")["username"]
        images = sorted(self.json("GET", "/datastore/?output=all").get("objects", {}))
        models = [name for name, model in info.get("models", {}).items() if model.get("type") == "segmentation"]
        return {
            "review": review,
            "models": models,
            "trainers": list(info.get("trainers", {})),
            "strategies": list(info.get("strategies", {})) or ["random"],
            "images": images,
        }

    def _has_queue(self):
        try:
            self.json("GET", "/review/?limit=1")
        except ServerError as error:
            if error.status != 404:
                raise
            return False
        return True

    def next_sample(self, strategy):
        """Ask which image should be labelled next; "" where none is left."""
        return self.json("POST", f"/activelearning/{quote(strategy)}", body={}).get("id", "")

    def predict(self, image, model, call, folder=None):
        """Let a model segment an image, tell how far it is; the mask is written to a file in `folder` where one is given."""
        job = uuid.uuid4().hex
        done = threading.Event()
        threading.Thread(target=self._follow, args=(job, done, call), daemon=True).start()
        try:
            path = f"/infer/{quote(model)}?image={quote(image)}&output={'image' if folder else 'json'}"
            target = folder and Path(folder) / "mask"
            return self.download("POST", path, target, call, headers={"X-Request-ID": job}, timeout_s=3600)
        finally:
            done.set()

    def submit(self, image, file, revision=None):
        """Send a label file; on our server it is made from a revision, and sending the same once more changes nothing."""
        headers = {} if revision is None else {"If-Match": str(revision)}
        with open(file, "rb") as stream:
            path = f"/datastore/label?image={quote(image)}&tag=final"
            return self.json("PUT", path, files={"label": stream}, data={"params": "{}"}, headers=headers, timeout_s=600)

    def train(self, model):
        """Start a training."""
        return self.json("POST", f"/train/{quote(model)}", body={})

    def training(self, model):
        """Tell how the training stands, and what it has achieved so far."""
        try:
            status = self.json("GET", "/train/")
        except ServerError as error:
            if error.status != 404:
                raise
            status = {}
        return status, self.json("GET", "/info/").get("train_stats", {}).get(model) or {}

    def stop_training(self):
        """Stop it."""
        self.json("DELETE", "/train/")

    def image_file(self, image, folder, call):
        """Fetch an image as the server keeps it; gives the file."""
        return self.download("GET", f"/datastore/image?image={quote(image)}", Path(folder) / "image", call)

    def add_image(self, image, file):
        """Send a volume file as a new image."""
        with open(file, "rb") as stream:
            files = {"file": (f"{image}.nii.gz", stream)}
            return self.json("PUT", f"/datastore/image?image={quote(image)}", files=files, data={"params": "{}"}, timeout_s=600)

    # ---- a server with a queue --------------------------------------------------------------------------------------------

    def standing(self, image):
        """Grid, progress and advice of an image under review."""
        return self.json("GET", f"/review/images/{quote(image)}")

    def volume(self, image, name, target, call):
        """Fetch `volume`, `mask`, `draft/mask` or `heat` as NRRD on the image's grid."""
        self.download("GET", f"/review/images/{quote(image)}/{name}?format=nrrd", target, call)

    def places(self, image):
        """List the queue, best first."""
        return self.json("GET", f"/review/?image={quote(image)}&limit=500")["places"]

    def best_place(self):
        """Tell of the place that is worth it most, of all that nobody is at; None where none is left."""
        return next(iter(self.json("GET", "/review/?state=pending&limit=1")["places"]), None)

    def next_place(self, image):
        """Reserve the next place; its `place` is None where none is left."""
        return self.json("POST", f"/review/next?image={quote(image)}")

    def take(self, place_id):
        """Reserve a certain place."""
        return self.json("POST", f"/review/places/{quote(place_id)}/take")

    def take_back(self, place_id):
        """Take an answer back."""
        return self.json("DELETE", f"/review/places/{quote(place_id)}/answer")

    def release(self, place_id):
        """Give a place back unanswered."""
        return self.json("POST", f"/review/places/{quote(place_id)}/release")

    def draft(self, image, what, body=None):
        """Change the draft: `undo`, `redo`, or `prompt` with a tool and clicks."""
        return self.json("POST", f"/review/images/{quote(image)}/draft/{what}", body=body)

    # ---- requests ---------------------------------------------------------------------------------------------------------

    def json(self, method, path, body=None, **options):
        """Ask for JSON."""
        answer = self._ask(method, path, json=body, **options)
        return answer.json() if answer.content else {}

    def download(self, method, path, target, call, **options):
        """Write what comes to a file, in pieces; gives the file, which has the suffix that the server states.

        Stops where the user no longer waits.
        """
        with self._ask(method, path, stream=True, **options) as answer:
            target = target and target.with_suffix(target.suffix or _suffix(answer))
            stream = open(target, "wb") if target else None
            try:
                for piece in answer.iter_content(1 << 18):
                    call.check()
                    if stream:
                        stream.write(piece)
            except requests.RequestException as error:
                raise ServerError(0, BROKEN_OFF) from error
            finally:
                if stream:
                    stream.close()
        return target

    def _ask(self, method, path, timeout_s=None, **options):
        try:
            answer = self._session.request(method, self.url + path, timeout=(5, timeout_s or self.timeout_s), **options)
        except requests.Timeout as error:
            raise ServerError(0, TOO_LATE.format(url=self.url)) from error
        except (requests.RequestException, ValueError) as error:
            raise ServerError(0, NO_ANSWER.format(url=self.url)) from error
        if not answer.ok:
            raise ServerError(answer.status_code, _words(answer))
        return answer

    def _follow(self, job, done, call):
        """Tell how far a job is until it is over; stop it where the user no longer waits."""
        try:
            while not done.is_set():
                call.wait(0.5)
                try:
                    call.tell(self.json("GET", f"/jobs/{job}").get("progress", 0.0))
                except ServerError:
                    continue  # it has not begun, or this server has no jobs
        except CancelledError:
            try:
                self.json("DELETE", f"/jobs/{job}")
            except ServerError:
                return  # it is over


def _suffix(answer):
    """Of the file that a server sends."""
    header = email.message.Message()
    header["Content-Disposition"] = answer.headers.get("Content-Disposition", "")
    name = header.get_filename() or ""
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def _words(answer):
    if answer.status_code == 401:
        return BAD_TOKEN
    try:
        detail = answer.json()["detail"]
        return detail if isinstance(detail, str) else json.dumps(detail)
    except (ValueError, KeyError, TypeError):
        return OTHER.format(status=answer.status_code, text=answer.text[:300])
