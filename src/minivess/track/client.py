"""The client of MLflow, set up so that a server that is away costs seconds: by default its first call blocks for four minutes."""

from __future__ import annotations

import os
from typing import Any

from minivess.errors import RemoteError
from minivess.extras import require_extra
from minivess.track.spool import URI_VARIABLE

_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def connect(uri: str | None = None) -> Any:
    """Return a client of MLflow; no request is made yet.

    Args:
        uri: Address of the server; that of MLFLOW_TRACKING_URI by default.

    Raises:
        RemoteError: When no server is named, or the address is none.
        MissingExtraError: When MLflow is not installed.
    """
    require_extra("track", "Tracking")
    address = uri or os.environ.get(URI_VARIABLE, "")
    if not address:
        raise RemoteError(f"No MLflow server is named. Set {URI_VARIABLE}, for example to http://127.0.0.1:5000.")
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient, set_registry_uri, set_tracking_uri
    from mlflow.exceptions import MlflowException

    refused = RemoteError(
        f"{URI_VARIABLE} is {address[:100]!r}. Allowed: an address such as http://127.0.0.1:5000 or sqlite:///mlflow.db."
    )
    if "://" not in address and address != "databricks":  # MLflow would take it for a folder
        raise refused
    try:
        set_tracking_uri(address)
        set_registry_uri(address)
        return MlflowClient(address, address)
    except MlflowException as error:
        raise refused from error
