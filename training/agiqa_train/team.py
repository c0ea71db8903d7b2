"""Several processes that train one model, each on one core with its own part of every batch.

On a machine that does other work too this is much faster than one process with threads: threads
wait for each other in every operation, processes once a step.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Team:
    """This process's place among `size`; with one member nothing is exchanged."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def leads(self) -> bool:
        """Whether this is the process that logs and saves."""
        return self.rank == 0

    def share_start(self, parameters: list[nn.Parameter]) -> None:
        """All members take the leader's values."""
        if self.size > 1:
            for parameter in parameters:
                dist.broadcast(parameter.data, 0)

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Every member ends with the mean gradient."""
        if self.size == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters])):
            parameter.grad = part.reshape(parameter.shape)

    def agree(self, value: float) -> float:
        """The leader's value, everywhere: clocks differ, and a schedule must not."""
        if self.size == 1:
            return value
        shared: Tensor = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(shared, 0)
        return float(shared)


def _member(rank: int, size: int, store: str, work: Callable[[Team], None]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    try:
        work(Team(rank, size))
    finally:
        dist.destroy_process_group()
    # Gloo's threads may give a tensor back a moment later. PyTorch then asks for Python's lock, and
    # in an interpreter that is shutting down this aborts the process, so this one doesn't shut down.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def run_team(size: int, folder: Path, work: Callable[[Team], None]) -> None:
    """Runs `work` (picklable) in `size` processes and waits; a failure in one ends all and is raised."""
    if size == 1:
        work(Team())
        return
    store = (folder / "team").resolve()
    store.unlink(missing_ok=True)
    torch.multiprocessing.start_processes(_member, (size, str(store), work), nprocs=size, start_method="spawn")
    store.unlink(missing_ok=True)
