"""The command line ``minivess <noun> <verb>``, one file per noun; large libraries are imported inside the commands."""
