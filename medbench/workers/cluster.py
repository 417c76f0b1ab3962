"""The Ray cluster that workers run in: one started on this machine, or one that is running already."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

from medbench.common.strict import Count, check_fields
from medbench.errors import WorkersError

_CPUS_PER_WORKER = 2  # where the number of workers is not given
_OBJECT_STORE = 2**28  # bytes; batches and answers are small
_CONNECT_TIMEOUT = 10.0  # seconds for a running cluster to accept a connection


@dataclass(frozen=True)
class WorkerOptions:
    """Number and place of the workers.

    Attributes:
        workers: Their number; ``auto``: one per ``gpus_per_worker`` GPUs, else one per two cores.
        address: ``auto`` or ``ray://…``: a running cluster; ``None``: this machine.
        gpus_per_worker: GPUs that one copy of the model is distributed over.
    """

    workers: Count | Literal["auto"] = "auto"
    address: str | None = None
    gpus_per_worker: Count = 1

    def __post_init__(self) -> None:
        check_fields(self, where=lambda field: f"--{field.replace('_', '-')}", error=WorkersError)


@dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Attributes:
        cpus: Cores that it offers.
        gpus: GPUs that it offers.
    """

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Placement:
    """Number of workers, and the resources of each.

    Attributes:
        workers: How many.
        cpus: Cores of each, which is also the number of its threads.
        gpus: GPUs of each.
        nodes: The machines of the cluster.
        ray: Version of Ray.
    """

    workers: int
    cpus: int
    gpus: int
    nodes: tuple[Node, ...]
    ray: str

    @property
    def per_machine(self) -> int:
        """Largest number of workers on one machine."""
        return max(1, min(self.workers, max(_fits(node, self.cpus, self.gpus) for node in self.nodes)))

    def describe(self) -> dict[str, Any]:
        """Facts for the manifest, without host names."""
        return {"kind": "ray", **asdict(self)}


@contextmanager
def open_cluster(options: WorkerOptions, *, gpu: bool) -> Iterator[Placement]:
    """Start or join a cluster; afterwards stop it if it was started here.

    Args:
        options: What was asked for.
        gpu: Whether workers need GPUs.

    Raises:
        WorkersError: Ray is not installed, the cluster cannot be reached, or it has no room for the workers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or Ray prints advice about GPUs
    if options.address is None and "ray" not in sys.modules:
        _enable_token_auth()  # Ray reads the token once, when it is imported
    try:
        import ray
    except ImportError as error:
        raise WorkersError(
            "several workers need Ray, which is not installed",
            where="--workers",
            hint="pip install 'medbench[ray]'",
        ) from error
    cluster: Any = ray
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, options)
    try:
        nodes = tuple(
            Node(float(node["Resources"].get("CPU", 0)), float(node["Resources"].get("GPU", 0)))
            for node in cluster.nodes()
            if node["Alive"]
        )
        workers, cpus, gpus = place(nodes, options, gpu=gpu)
        yield Placement(workers, cpus, gpus, nodes, str(ray.__version__))
    finally:
        if ours:
            ray.shutdown()


def _enable_token_auth() -> None:
    """Enable token authentication for the cluster that is about to be started.

    Ray listens on all interfaces, and anyone who can connect may run code. The token belongs to this process
    and its children; a mode set in the environment is kept.
    """
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = _token()


@lru_cache(maxsize=1)
def _token() -> str:
    return secrets.token_hex(32)


def _connect(ray: Any, options: WorkerOptions) -> None:
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if options.address is None:
        cores = os.cpu_count() or 1
        wanted = options.workers if isinstance(options.workers, int) else 1
        # More workers than cores are allowed: that choice is the user's.
        settings |= {
            "address": "local",
            "include_dashboard": False,
            "num_cpus": max(cores, wanted),
            "object_store_memory": _OBJECT_STORE,
        }
    else:
        _check_reachable(options.address)
        settings["address"] = options.address
    # Restore the signal handlers that Ray replaces: a run stops in its own way.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(**settings)
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        raise _unusable(options.address, str(error)) from error
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _check_reachable(address: str) -> None:
    """Check that the address accepts connections; Ray itself would wait for minutes and ignore Ctrl-C.

    Raises:
        WorkersError: It does not.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # `auto`, or an address that Ray itself rejects
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise _unusable(address, str(error)) from error


def _unusable(address: str | None, why: str) -> WorkersError:
    lines = why.strip().splitlines() or ["no reason was given"]
    return WorkersError(
        f"the Ray cluster cannot be used: {lines[0]}",
        where=f"--ray-address {address}" if address else "this machine",
        hint="`ray status` says whether it runs; `ray start --head` starts one",
    )


def place(nodes: Sequence[Node], options: WorkerOptions, *, gpu: bool) -> tuple[int, int, int]:
    """Choose the number of workers, and the cores and GPUs of each.

    Args:
        nodes: The machines.
        options: What was asked for.
        gpu: Whether workers need GPUs.

    Returns:
        The number of workers, cores for each, GPUs for each.

    Raises:
        WorkersError: They do not fit.
    """
    gpus = options.gpus_per_worker if gpu else 0
    if options.workers == "auto":
        count = sum(int(node.gpus // gpus if gpu else node.cpus // _CPUS_PER_WORKER) for node in nodes)
        count = max(1, count)
    else:
        count = int(options.workers)
    cpus = max(1, int(sum(node.cpus for node in nodes)) // count)
    while cpus > 1 and sum(_fits(node, cpus, gpus) for node in nodes) < count:
        cpus -= 1
    room = sum(_fits(node, cpus, gpus) for node in nodes)
    if room < count:
        total = sum(node.gpus for node in nodes) if gpu else sum(node.cpus for node in nodes)
        raise WorkersError(
            f"{count} workers do not fit: there is room for {room} ({total:g} {'GPUs' if gpu else 'cores'})",
            where="--workers",
            hint=f"--workers {room}" if room else "give the cluster more machines, or --device cpu",
        )
    return count, cpus, gpus


def _fits(node: Node, cpus: int, gpus: int) -> int:
    """Number of such workers that fit on a machine."""
    return int(min(node.cpus // cpus, node.gpus // gpus if gpus else node.cpus))
