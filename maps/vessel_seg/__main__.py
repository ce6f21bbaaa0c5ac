"""Entry point of the application: ``python -m maps.vessel_seg`` or ``python maps/vessel_seg``."""

import gc
import signal
import sys
from pathlib import Path

gc.disable()  # half a million objects are imported, and none of them is garbage: to look for some takes a second
signal.signal(signal.SIGINT, signal.SIG_DFL)  # until command.py notes it: a traceback out of an import tells nothing
sys.path.insert(0, str(Path(__file__).parent))  # a MAP's application is a folder, not a package

from minivess.process_setup import prepare_process

prepare_process(only_predicts=True)

from command import main

gc.freeze()
gc.enable()
sys.exit(main(sys.argv[1:]))
