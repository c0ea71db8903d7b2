"""Tiny sizes for every test: an encoder of a few thousand weights, made anew from a seed."""

from __future__ import annotations

import pytest
import torch

from agiqa_train.clip import Clip, ClipConfig, TextConfig, VisionConfig

TINY = ClipConfig(
    vision=VisionConfig(width=32, layers=2, heads=2, patch=32),
    text=TextConfig(width=32, layers=2, heads=2, token_dim=8),
    embed_dim=16,
)


@pytest.fixture()
def tiny() -> Clip:
    """A tiny encoder with the true vocabulary and picture size."""
    torch.manual_seed(0)
    return Clip(TINY).eval()
