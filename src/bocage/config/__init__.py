"""Reading a run's configuration; the only room that knows the configs of all others."""

from bocage.config.catalogue import preset_names
from bocage.config.load import load_config, load_for_bundle, load_resolved, parse_options
from bocage.config.run import RunConfig

__all__ = [
    "RunConfig",
    "load_config",
    "load_for_bundle",
    "load_resolved",
    "parse_options",
    "preset_names",
]
