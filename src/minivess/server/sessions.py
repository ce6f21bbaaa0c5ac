"""Images that a client brings for a while: files one by one, or packed; MONAI Label keeps them until they expire."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path, PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, UploadFile
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance
from starlette.exceptions import HTTPException

from minivess.archives import extract_archive
from minivess.errors import InputError
from minivess.store.names import check_name

router = APIRouter(prefix="/session", tags=["Session"])
_annotator = RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER)


@router.put("/", summary="Bring an image for a while")
def create_session(
    files: Annotated[list[UploadFile], File()],
    user: Annotated[User, Depends(_annotator)],
    uncompress: bool = False,
    expiry: int = 0,
) -> dict[str, Any]:
    """Keep files, or what is packed in one archive, as a session; MONAI Label's own would unpack anything anywhere."""
    sessions = app_instance().sessions()
    if sessions is None:
        raise HTTPException(406, "This server keeps no sessions. Upload the image to the studies.")
    with tempfile.TemporaryDirectory(prefix="minivess_session_") as name:
        folder = Path(name) / "files"
        folder.mkdir()
        for file in files:
            target = folder / check_name(PurePath(file.filename or "image.nii.gz").name, "The file's name")
            if target.exists():
                raise InputError(f"Two files have the name {target.name}. Give each its own.")
            with target.open("xb") as copy:
                shutil.copyfileobj(file.file, copy)
        brought = sorted(folder.iterdir())
        if uncompress:
            if len(brought) != 1:
                raise InputError(f"uncompress takes one archive. Got {len(brought)} files.")
            extract_archive(brought[0], Path(name) / "series")
            brought = [Path(name) / "series"]
        image = brought[0] if len(brought) == 1 else folder
        session_id, session = sessions.add_session(str(image), expiry)
    return {"session_id": session_id, "session_info": session.to_json()}
