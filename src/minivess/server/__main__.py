"""Start the label server: MONAI Label's command with limits of connections. ``python -m minivess.server start_server``."""

from __future__ import annotations

import logging
from functools import partial
from types import SimpleNamespace

import uvicorn

from minivess.process_setup import prepare_process
from minivess.server.http_protocol import UVICORN_OPTIONS, raise_open_file_limit


def main() -> None:
    """Run MONAI Label's command; its call of ``uvicorn.run`` has no options for what we limit."""
    raise_open_file_limit()
    prepare_process(only_predicts=True)
    from monailabel import main as monai_label  # imports MONAI

    monai_label.logger.addFilter(_is_news)
    monai_label.uvicorn = SimpleNamespace(run=partial(uvicorn.run, **UVICORN_OPTIONS))
    monai_label.Main().run()


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out the thirty lines of options that would push the token off the screen."""
    return not record.getMessage().startswith("USING::") and bool(record.getMessage())


if __name__ == "__main__":
    main()
