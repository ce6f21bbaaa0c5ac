"""The HTTP endpoints of the server, one file a subject."""
