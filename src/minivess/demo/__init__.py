"""The main job from start to end, on made-up data."""

from minivess.demo.run import run_demo

__all__ = ["run_demo"]
