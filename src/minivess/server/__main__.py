"""Start the label server: MONAI Label's command with limits of connections. ``python -m minivess.server start_server``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import uvicorn

from minivess.process_setup import prepare_process
from minivess.server.http_protocol import UVICORN_OPTIONS, raise_open_file_limit
from minivess.server.logs import set_up_logs


def main() -> None:
    """Run MONAI Label's command; its call of ``uvicorn.run`` has no options for what we limit."""
    raise_open_file_limit()
    prepare_process(only_predicts=True)
    from monailabel import main as monai_label  # imports MONAI

    monai_label.uvicorn = SimpleNamespace(run=_run)
    command = monai_label.Main()
    set_up_logs()  # its own log would show thirty lines of options, which push the token off the screen
    command.run()


def _run(app: str, **options: Any) -> None:
    """Serve an application; the first line of the log has the form of all others.

    Args:
        app: Module and name of the application.
        options: Options of MONAI Label's call of uvicorn.
    """
    uvicorn.run(app, **{**UVICORN_OPTIONS, **options, "log_config": None})


if __name__ == "__main__":
    main()
