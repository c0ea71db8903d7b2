"""Losses, schedules and a few real steps at tiny size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agiqa_train.clip import Clip
from agiqa_train.data import Cache
from agiqa_train.distort import KINDS, draw_severities
from agiqa_train.pretrain import (
    PretrainConfig,
    PretrainJob,
    contrastive_loss,
    learning_rate_at,
    pretrain,
    ranking_loss,
)
from agiqa_train.prompt_head import PromptHeadConfig, train_prompts_and_head
from agiqa_train.prompts import prompt_layout
from agiqa_train.runlog import RunLog
from agiqa_train.tokenizer import Tokenizer


@pytest.fixture()
def cache() -> Cache:
    """Eight groups of noise."""
    rng = np.random.default_rng(0)
    clean = np.zeros(len(KINDS), np.float32)
    severities = np.stack([np.stack([clean, *(draw_severities(rng) for _ in range(3))]) for _ in range(8)])
    return Cache(rng.integers(0, 256, (8, 4, 230, 230, 3), dtype=np.uint8), severities)


def test_learning_rate_rises_then_falls() -> None:
    config = PretrainConfig(learning_rate=1.0, warmup=0.1)
    rates = [learning_rate_at(p, config) for p in (0.0, 0.05, 0.1, 0.5, 1.0, 1.5)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.59, 0.01, 0.01], abs=0.02)


def test_contrastive_loss_is_least_when_aligned() -> None:
    texts = torch.eye(3)
    owner = torch.tensor([0, 1, 1, 2])
    scale = torch.tensor(20.0)
    assert contrastive_loss(texts[owner], texts, owner, scale) < contrastive_loss(texts[owner.flip(0)], texts, owner, scale)


def test_ranking_loss_prefers_the_right_order() -> None:
    target = torch.tensor([[5.0, 3.0, 2.0, 1.0]])
    assert ranking_loss(target, target) < ranking_loss(-target, target)
    assert ranking_loss(target, torch.ones(1, 4)) == 0


TINY_RUN = PretrainConfig(steps=3, groups_per_step=4, kept_patches=20, bfloat16=False, save_every=1)


def save_cache(cache: Cache, folder: Path) -> Path:
    """On disk, as the members of a team read it."""
    folder.mkdir()
    np.save(folder / "pixels.npy", cache.pixels)
    np.save(folder / "severities.npy", cache.severities)
    return folder


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupted_run_goes_on(tiny: Clip, cache: Cache, tmp_path: Path, processes: int) -> None:
    folder, path, log = save_cache(cache, tmp_path / "cache"), tmp_path / "pretrain.pt", RunLog(tmp_path, {})
    config = replace(TINY_RUN, processes=processes)
    first = pretrain(PretrainJob(tiny.config, config, folder, path, log))
    second = pretrain(PretrainJob(tiny.config, replace(config, steps=5), folder, path, log))
    third = pretrain(PretrainJob(tiny.config, config, folder, path, log))  # over: changes nothing
    assert [t.step_count for t in (first, second, third)] == [3, 5, 5]
    torch.testing.assert_close(third.clip.visual.proj, second.clip.visual.proj)
    assert not torch.equal(second.clip.visual.proj, first.clip.visual.proj)


def test_the_clock_ends_a_run_too(tiny: Clip, cache: Cache, tmp_path: Path) -> None:
    config = replace(TINY_RUN, steps=10**6, minutes=1e-3, processes=1)
    job = PretrainJob(
        tiny.config, config, save_cache(cache, tmp_path / "cache"), tmp_path / "pretrain.pt", RunLog(tmp_path, {})
    )
    assert 1 <= pretrain(job).step_count < 100


def test_prompts_and_head_learn(tiny: Clip, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(64, 4, 1, 16)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
    mos = 3 + 1.5 * embeddings[:, :, 0, 0]
    config = PromptHeadConfig(hidden=16, steps=200, dropout=0.0, learning_rate=1e-2, threads=1)
    log = RunLog(tmp_path, {})
    context, head = train_prompts_and_head(tiny, prompt_layout(Tokenizer()), embeddings, mos, config, log)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert context.shape == (6, 16, 32) and lines[-1]["mse"] < 0.25 * mos.var()
    assert set(head) == {"head.0.weight", "head.0.bias", "head.1.weight", "head.1.bias"}
