"""Trains prompts and head of a checkpoint on frozen encoders.

The loss is the mean squared error on the score, as in CLIP-AGIQA, plus a ranking loss within each
group that the demo's data allows. Image embeddings do not depend on anything trained here, so they
are computed once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from .clip import Clip
from .data import GROUP
from .head import Head
from .pretrain import ranking_loss
from .prompts import PromptLayout
from .runlog import RunLog


@dataclass(frozen=True)
class PromptHeadConfig:
    """Sizes and schedule."""

    context_length: int = 16
    class_specific: bool = True
    class_token_position: str = "end"
    hidden: int = 128
    dropout: float = 0.05
    steps: int = 1500
    groups_per_step: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    ranking_weight: float = 0.2
    seed: int = 1
    threads: int = 2  # the last bits follow how sums are split among them


class PromptLearner(nn.Module):
    """The learned context and a frozen text tower; gives the category embeddings [C, D]."""

    def __init__(self, clip: Clip, layout: PromptLayout, config: PromptHeadConfig) -> None:
        super().__init__()
        count, width = len(layout.token_ids), clip.config.text.width
        shape = (config.context_length, width)
        self.context = nn.Parameter(0.02 * torch.randn(*((count, *shape) if config.class_specific else shape)))
        self._clip = [clip]  # in a list, so that its parameters are not this module's
        used = int((layout.token_ids != 0).sum(axis=1).max())  # causal: the zeros behind change nothing
        self.register_buffer("token_ids", torch.from_numpy(layout.token_ids[:, :used].astype(np.int64)))
        self.register_buffer("slots", torch.from_numpy(layout.slots[:, :used]))

    def forward(self) -> Tensor:
        vectors = self.context.expand(len(self.token_ids), *self.context.shape[-2:])
        index = self.slots.clamp(min=0)[:, :, None].expand(-1, -1, vectors.shape[-1])
        return self._clip[0].encode_text(self.token_ids, vectors.gather(1, index), self.slots >= 0)


def train_prompts_and_head(
    clip: Clip,
    layout: PromptLayout,
    embeddings: np.ndarray,
    mos: np.ndarray,
    config: PromptHeadConfig,
    log: RunLog,
) -> tuple[np.ndarray, Head]:
    """Embeddings [G, 4, D] and scores [G, 4] to the context and the head, both trained."""
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        return _train(clip, layout, embeddings, mos, config, log)
    finally:
        torch.set_num_threads(before)


def _train(
    clip: Clip,
    layout: PromptLayout,
    embeddings: np.ndarray,
    mos: np.ndarray,
    config: PromptHeadConfig,
    log: RunLog,
) -> tuple[np.ndarray, Head]:
    torch.manual_seed(config.seed)
    for parameter in clip.parameters():
        parameter.requires_grad_(False)
    learner = PromptLearner(clip, layout, config)
    head = Head(clip.config.embed_dim, config.hidden, len(layout.token_ids), config.dropout)
    with torch.no_grad():
        head.layers[4].bias.fill_(float(mos.mean()))
    parameters = [*learner.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    images, targets = torch.from_numpy(embeddings), torch.from_numpy(mos.astype(np.float32))
    generator = torch.Generator().manual_seed(config.seed)
    for step in tqdm(range(config.steps), unit="step", disable=None):
        chosen = torch.randint(0, len(images), (config.groups_per_step,), generator=generator)
        predicted = head(images[chosen].reshape(-1, images.shape[-1]), learner()).reshape(-1, GROUP)
        error = F.mse_loss(predicted, targets[chosen])
        loss = error + config.ranking_weight * ranking_loss(predicted, targets[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            log.add("prompts and head", step=step + 1, mse=float(error.detach()), loss=float(loss.detach()))
    return learner.context.detach().numpy(), head.eval()
