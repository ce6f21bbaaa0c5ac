"""``python -m minivess``: the command line."""

from minivess.cli.main import main

main()
