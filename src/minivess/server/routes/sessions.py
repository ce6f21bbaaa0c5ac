"""Images that a client uploads for a limited time, as files or as one archive; MONAI Label keeps them until they expire."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path, PurePath
from typing import Annotated, Any

from fastapi import APIRouter, File, UploadFile
from starlette.exceptions import HTTPException

from minivess.archives import extract_archive
from minivess.errors import InputError
from minivess.server.dependencies import App, CurrentAccount
from minivess.server.roles import requires
from minivess.store.names import check_name

router = APIRouter(prefix="/session", tags=["Session"])


@router.put("/", summary="Upload an image for a limited time", dependencies=[requires("annotator")])
def create_session(
    app: App, account: CurrentAccount, files: Annotated[list[UploadFile], File()], uncompress: bool = False, expiry: int = 0
) -> dict[str, Any]:
    """Store files, or one archive's content, as this user's session. MONAI Label's own endpoint would unpack a file anywhere."""
    sessions = app.sessions()
    if sessions is None:
        raise HTTPException(406, "This server has no sessions. Upload the image to the studies.")
    with tempfile.TemporaryDirectory(prefix="minivess_session_") as name:
        folder = Path(name) / "files"
        folder.mkdir()
        for file in files:
            target = folder / check_name(PurePath(file.filename or "image.nii.gz").name, "The file's name")
            if target.exists():
                raise InputError(f"Two files have the name {target.name}. Rename one of them.")
            with target.open("xb") as copy:
                shutil.copyfileobj(file.file, copy)
        uploaded = sorted(folder.iterdir())
        if uncompress:
            if len(uploaded) != 1:
                raise InputError(f"uncompress needs one archive. Got {len(uploaded)} files.")
            extract_archive(uploaded[0], Path(name) / "series")
            uploaded = [Path(name) / "series"]
        image = uploaded[0] if len(uploaded) == 1 else folder
        session_id, session = sessions.add_of(account.name, image, expiry)
    return {"session_id": session_id, "session_info": {**session.to_json(), "path": PurePath(session.path).name}}
