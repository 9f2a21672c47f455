"""The main job from end to end on the simulated landscape, and one page that shows it."""

from bocage.demo.run import run_demo

__all__ = ["run_demo"]
