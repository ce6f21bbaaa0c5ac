"""The label server: MONAI Label's REST interface behind our guard, with its handlers off the event loop."""

from minivess.server.people import People, Person
from minivess.server.serve import LabelServer, Launch, accounts_path, prepare_server

__all__ = ["LabelServer", "Launch", "People", "Person", "accounts_path", "prepare_server"]
