"""A model trained by several processes."""

from __future__ import annotations

import atexit
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from agiqa_train.team import Team, run_team


def average(team: Team) -> None:
    """Says what the members agreed on, and lets whatever still runs when the interpreter ends do harm."""
    parameter = nn.Parameter(torch.full((3,), float(team.rank)))
    parameter.grad = torch.full((3,), float(team.rank))
    team.average_gradients([parameter])
    assert parameter.grad.tolist() == [0.5] * 3
    team.share_start([parameter])
    assert parameter.tolist() == [0.0] * 3
    atexit.register(os.abort)


def fail(team: Team) -> None:
    if not team.leads:
        raise ValueError("the second member's fault")


def test_members_exchange_and_leave(tmp_path: Path) -> None:
    run_team(2, tmp_path, average)
    assert list(tmp_path.iterdir()) == []


def test_a_members_fault_ends_all(tmp_path: Path) -> None:
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="the second member's fault"):
        run_team(2, tmp_path, fail)
