"""Run the whole workflow on synthetic data."""

from minivess.demo.run import run_demo

__all__ = ["run_demo"]
