"""A Ray cluster: joined, or started on this machine, for as long as it is used."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, Literal, get_args

from bocage.errors import ConfigError, unknown_name

Engine = Literal["local", "ray"]
"""Where work is done: by processes of this machine, or by a Ray cluster."""


def check_engine(engine: str, address: str | None) -> None:
    """`ConfigError` for an unknown engine, for `ray` without Ray, for an address without `ray`."""
    if engine not in get_args(Engine):
        raise ConfigError(unknown_name("engine", engine, get_args(Engine)))
    if engine != "ray":
        if address is not None:
            raise ConfigError(f"address={address} is that of a Ray cluster. Add --engine ray.")
        return
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "engine ray needs Ray: pip install 'bocage[ray]', on every machine of the cluster."
        ) from error


@contextlib.contextmanager
def ray_cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected to the cluster at `address`; None: one started on this machine.

    A connection that there is already is used, and left as it is.
    """
    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()
