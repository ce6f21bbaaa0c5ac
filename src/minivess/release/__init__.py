"""A signed release: model, report, packages and advisories in one folder, which one command verifies."""

from minivess.release.make import make_release
from minivess.release.signature import create_keys, verify_folder

__all__ = ["create_keys", "make_release", "verify_folder"]
