"""The label server: MONAI Label's REST interface and the review endpoints, with authentication, jobs and a web page."""

from minivess.server.accounts import Account, Accounts, accounts_path
from minivess.server.serve import LabelServer, Launch, prepare_server

__all__ = ["Account", "Accounts", "LabelServer", "Launch", "accounts_path", "prepare_server"]
