"""A Ray cluster: joined, or started on this machine, for as long as it is used."""

from __future__ import annotations

import contextlib
import logging
import socket
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
        _check_address(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except ConnectionError as error:
            raise ConfigError(f"address={address}: no Ray cluster answers ({error}).") from error
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()


def _check_address(address: str | None) -> None:
    """`ConfigError` where nobody listens: Ray itself would wait there without end."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ConfigError(
            f"address={address}: no Ray cluster answers there ({error}). Start one with 'ray start "
            "--head --port=6379', and give its machine and port."
        ) from error
