"""Reading a run's configuration; the only room that knows the configs of all others."""

from bocage.config.load import load_config, load_resolved, parse_options, preset_names
from bocage.config.run import RunConfig

__all__ = ["RunConfig", "load_config", "load_resolved", "parse_options", "preset_names"]
