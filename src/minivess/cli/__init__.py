"""The command line: ``minivess <noun> <verb>``, one file a noun; heavy libraries are imported inside the commands."""
