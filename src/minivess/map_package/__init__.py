"""The MONAI Deploy application package (MAP): how it is made, run and checked, in any container engine or without one."""

from minivess.map_package.check import Finding, check_package
from minivess.map_package.engines import Engine, find_engine
from minivess.map_package.folder import write_package
from minivess.map_package.run import run_package

__all__ = ["Engine", "Finding", "check_package", "find_engine", "run_package", "write_package"]
