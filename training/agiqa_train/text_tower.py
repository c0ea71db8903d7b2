"""A text tower of our own, tuned against image embeddings that stay as they are.

The image tower is locked (as in LiT, arXiv 2111.07991), so its embeddings are computed once and only
text learns: minutes on two cores. The captions say which damage a picture has and how good it is, so
the tower knows quality words and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from .captions import FORMS, describe, quality_caption, quality_targets
from .clip import TextConfig, TextTower
from .pretrain import CAPTION_LENGTH, contrastive_loss, learning_rate_at
from .prompts import CATEGORIES
from .runlog import RunLog
from .tokenizer import Tokenizer


@dataclass(frozen=True)
class TextTowerConfig:
    """Sizes and schedule."""

    text: TextConfig = field(default_factory=lambda: TextConfig(width=128, layers=2, heads=2, token_dim=28))
    steps: int = 1500
    rows_per_step: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.03  # share of the run
    quality_weight: float = 1.0
    seed: int = 1
    threads: int = 2  # the last bits follow how sums are split among them


class _Captions:
    """Token ids of captions, each tokenised once."""

    def __init__(self) -> None:
        self._tokenizer, self._rows = Tokenizer(), {}

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """int64 [N, CAPTION_LENGTH]."""
        for caption in captions:
            if caption not in self._rows:
                self._rows[caption] = self._tokenizer([caption], CAPTION_LENGTH)[0]
        return torch.from_numpy(np.stack([self._rows[caption] for caption in captions])).long()


def train_text_tower(
    embeddings: np.ndarray, severities: np.ndarray, mos: np.ndarray, config: TextTowerConfig, log: RunLog
) -> TextTower:
    """Image embeddings [N, V, D] of versions with severities [N, kinds] and scores [N] to a tower for their space."""
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        return _train(embeddings, severities, mos, config, log)
    finally:
        torch.set_num_threads(before)


def _train(
    embeddings: np.ndarray, severities: np.ndarray, mos: np.ndarray, config: TextTowerConfig, log: RunLog
) -> TextTower:
    torch.manual_seed(config.seed)
    tower = TextTower(config.text, embeddings.shape[-1])
    decayed = [p for p in tower.parameters() if p.ndim >= 2]
    plain = [p for p in tower.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), eps=1e-6)
    rng = np.random.default_rng(config.seed)
    tokens, targets = _Captions(), quality_targets(mos)
    bar = tqdm(range(config.steps), desc="text tower", unit="step", disable=None)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step / config.steps, config)
        chosen = rng.integers(len(embeddings), size=config.rows_per_step)
        views = rng.integers(embeddings.shape[1], size=config.rows_per_step)
        images = torch.from_numpy(embeddings[chosen, views])
        # One wording for each damage and step: the same damage in two wordings would be two classes.
        wording = int(rng.integers(len(FORMS)))
        captions = [describe(row, wording) for row in severities[chosen]]
        unique = sorted(set(captions))
        owner = torch.tensor([unique.index(caption) for caption in captions])
        words = [quality_caption(word, wording) for word in CATEGORIES]
        texts = tower.encode_text(tokens([*unique, *words]))
        scale = tower.logit_scale.exp().clamp(max=100)
        caption_loss = contrastive_loss(images, texts[: len(unique)], owner, scale)
        quality_loss = F.cross_entropy(scale * images @ texts[len(unique) :].T, torch.from_numpy(targets[chosen]))
        loss = caption_loss + config.quality_weight * quality_loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            values = {"caption": float(caption_loss.detach()), "quality": float(quality_loss.detach())}
            log.add("text tower", step=step + 1, **values)
            bar.set_postfix_str(f"caption {values['caption']:.2f} quality {values['quality']:.2f}")
    return tower.eval()


def save_text_tower(path: Path, tower: TextTower) -> None:
    """Whole or not at all."""
    staged = path.with_suffix(".new")
    torch.save(tower.state_dict(), staged)
    staged.replace(path)


def load_text_tower(path: Path, config: TextConfig, embed_dim: int) -> TextTower:
    """A saved tower."""
    tower = TextTower(config, embed_dim)
    tower.load_state_dict(torch.load(path, weights_only=True))
    return tower.eval()


@torch.no_grad()
def quality_by_words(tower: TextTower, embeddings: np.ndarray) -> np.ndarray:
    """Image embeddings [N, V, D] to the expected category [N], 0 to 5, by the six quality captions alone."""
    texts = tower.encode_text(_Captions()([quality_caption(word) for word in CATEGORIES]))
    logits = tower.logit_scale.exp().clamp(max=100) * torch.from_numpy(embeddings) @ texts.T
    return (logits.softmax(dim=-1) @ torch.arange(float(len(CATEGORIES)))).mean(dim=-1).numpy()
