"""A client of a Dask scheduler, for the rooms that distribute their work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from astro_sr_plugin.exceptions import InputError

__all__ = ["open_client"]


@contextmanager
def open_client(scheduler: Any, jobs: int) -> Iterator[Any]:
    """Connect to a Dask scheduler.

    Parameters
    ----------
    scheduler : str or distributed.Client
        Address of a scheduler, ``"local"`` for one of our own, or a client, which stays open.
    jobs : int
        Number of workers of one thread that ``"local"`` starts.

    Yields
    ------
    distributed.Client
        The client.

    Raises
    ------
    InputError
        If the package distributed is missing, or the scheduler cannot be reached.
    """
    try:
        import distributed
    except ImportError as error:
        msg = (
            f"scheduler={scheduler!r} needs the package 'distributed': "
            "pip install 'astro_sr_plugin[dask]'"
        )
        raise InputError(msg) from error
    if isinstance(scheduler, distributed.Client):
        yield scheduler
        return
    cluster = None
    if scheduler == "local":
        cluster = distributed.LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
    try:
        client = distributed.Client(cluster or scheduler, timeout="15s")
    except (OSError, ValueError) as error:
        msg = f"scheduler={scheduler!r} cannot be reached: {error}"
        raise InputError(msg) from error
    try:
        yield client
    finally:
        client.close()
        if cluster is not None:
            cluster.close()
