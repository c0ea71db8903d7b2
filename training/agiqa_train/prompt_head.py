"""Trains prompts and head of a checkpoint on frozen encoders.

The loss is the mean squared error on the score, as in CLIP-AGIQA, and optionally a ranking loss among
the versions of one picture. Image embeddings do not depend on anything trained here, so they are
computed once. Every view carries the score of its picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from .captions import quality_targets
from .clip import TextTower
from .head import Head
from .pretrain import ranking_loss
from .prompts import PromptLayout, place_context
from .runlog import RunLog

LEAST_DEVIATION = 1e-4  # of an embedding's dimension over the training set: below, it is taken as constant


@dataclass(frozen=True)
class PromptConfig:
    """Layout of the prompts, and how they are trained when they have no part in the score."""

    context_length: int = 16
    class_specific: bool = True
    class_token_position: str = "end"
    steps: int = 300
    rows_per_step: int = 256
    learning_rate: float = 1e-2
    seed: int = 1
    threads: int = 2  # the last bits follow how sums are split among them


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
    standardise: bool = False  # each dimension of the image embedding, folded into the first layer afterwards
    average_from: float = 1.0  # share of the run after which weights are averaged over the steps; 1: the last ones
    seed: int = 1
    threads: int = 2  # the last bits follow how sums are split among them


class PromptLearner(nn.Module):
    """The learned context and a frozen text tower; gives the category embeddings [C, D]."""

    def __init__(self, tower: TextTower, layout: PromptLayout, config: PromptHeadConfig | PromptConfig) -> None:
        super().__init__()
        count, width = len(layout.token_ids), tower.text.width
        shape = (config.context_length, width)
        self.context = nn.Parameter(0.02 * torch.randn(*((count, *shape) if config.class_specific else shape)))
        self._tower = [tower]  # in a list, so that its parameters are not this module's
        used = int((layout.token_ids != 0).sum(axis=1).max())  # causal: the zeros behind change nothing
        self.register_buffer("token_ids", torch.from_numpy(layout.token_ids[:, :used].astype(np.int64)))
        self.register_buffer("slots", torch.from_numpy(layout.slots[:, :used]))

    def forward(self) -> Tensor:
        vectors = self.context.expand(len(self.token_ids), *self.context.shape[-2:])
        index = self.slots.clamp(min=0)[:, :, None].expand(-1, -1, vectors.shape[-1])
        return self._tower[0].encode_text(self.token_ids, vectors.gather(1, index), self.slots >= 0)


@torch.no_grad()
def category_embeddings(tower: TextTower, layout: PromptLayout, context: np.ndarray) -> np.ndarray:
    """Learned context to category embeddings [C, D], through the tower itself."""
    ids, mask = torch.from_numpy(layout.token_ids).long(), torch.from_numpy(layout.context_mask)
    return tower.encode_text(ids, torch.from_numpy(place_context(layout, context)), mask).numpy()


def train_prompts(
    tower: TextTower, layout: PromptLayout, rows: np.ndarray, mos: np.ndarray, config: PromptConfig, log: RunLog
) -> np.ndarray:
    """Embeddings [N, D] and scores [N] to a context whose six prompts lie near pictures of their category.

    The cosines with the prompts, at the tower's own temperature, are fitted to `quality_targets`: then
    `category_similarity` of an answer means something.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    try:
        learner = PromptLearner(tower.requires_grad_(False), layout, config)
        scale = tower.logit_scale.exp().clamp(max=100)
        optimizer = torch.optim.AdamW(learner.parameters(), lr=config.learning_rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
        images, targets = torch.from_numpy(rows), torch.from_numpy(quality_targets(mos))
        generator = torch.Generator().manual_seed(config.seed)
        for step in tqdm(range(config.steps), desc="prompts", unit="step", disable=None):
            chosen = torch.randint(0, len(images), (config.rows_per_step,), generator=generator)
            loss = F.cross_entropy(scale * images[chosen] @ learner().T, targets[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if (step + 1) % 50 == 0:
                log.add("prompts", step=step + 1, loss=float(loss.detach()))
        return learner.context.detach().numpy()
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Standardisation:
    """Mean and deviation [D] of the training embeddings."""

    mean: np.ndarray
    deviation: np.ndarray

    @staticmethod
    def of(rows: np.ndarray) -> Standardisation:
        """Of rows [N, D]."""
        rows = rows.astype(np.float64)
        deviation = rows.std(axis=0)
        deviation[deviation < LEAST_DEVIATION] = 1
        return Standardisation(rows.mean(axis=0).astype(np.float32), deviation.astype(np.float32))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Rows [..., D] with mean 0 and deviation 1."""
        return ((rows - self.mean) / self.deviation).astype(np.float32)

    def folded(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The tensors of a head for standardised embeddings to those of the same head for plain ones."""
        weight = tensors["head.0.weight"].astype(np.float64)
        dim = len(self.mean)
        image = weight[:, :dim] / self.deviation
        return {
            **tensors,
            "head.0.weight": np.concatenate([image, weight[:, dim:]], axis=1).astype(np.float32),
            "head.0.bias": (tensors["head.0.bias"] - image @ self.mean.astype(np.float64)).astype(np.float32),
        }


def train_prompts_and_head(
    tower: TextTower,
    layout: PromptLayout,
    embeddings: np.ndarray,
    mos: np.ndarray,
    config: PromptHeadConfig,
    log: RunLog,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Embeddings [G, M, V, D] of M versions by V views, and scores [G, M], to the context and the head's tensors."""
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        return _train(tower, layout, embeddings, mos, config, log)
    finally:
        torch.set_num_threads(before)


def _train(
    tower: TextTower,
    layout: PromptLayout,
    embeddings: np.ndarray,
    mos: np.ndarray,
    config: PromptHeadConfig,
    log: RunLog,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    torch.manual_seed(config.seed)
    for parameter in tower.parameters():
        parameter.requires_grad_(False)
    learner = PromptLearner(tower, layout, config)
    head = Head(tower.embed_dim, config.hidden, len(layout.token_ids), config.dropout)
    with torch.no_grad():
        head.layers[4].bias.fill_(float(mos.mean()))
    standardisation = Standardisation.of(embeddings.reshape(-1, embeddings.shape[-1])) if config.standardise else None
    rows = embeddings if standardisation is None else standardisation(embeddings)
    parameters = [*learner.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    average = WeightAverage(parameters, round(config.average_from * config.steps))
    # [G, V, M]: the versions of a picture are ranked view by view.
    images = torch.from_numpy(np.ascontiguousarray(rows.swapaxes(1, 2)))
    targets = torch.from_numpy(mos.astype(np.float32))[:, None, :].expand(images.shape[:3])
    generator = torch.Generator().manual_seed(config.seed)
    for step in tqdm(range(config.steps), desc="prompts and head", unit="step", disable=None):
        chosen = torch.randint(0, len(images), (config.groups_per_step,), generator=generator)
        target = targets[chosen].reshape(-1, images.shape[2])
        predicted = head(images[chosen].reshape(-1, images.shape[-1]), learner()).reshape(target.shape)
        error = F.mse_loss(predicted, target)
        loss = error
        if config.ranking_weight > 0:
            loss = error + config.ranking_weight * ranking_loss(predicted, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        average.add(step)
        if (step + 1) % 100 == 0:
            log.add("prompts and head", step=step + 1, mse=float(error.detach()), loss=float(loss.detach()))
    average.apply()
    tensors = head.tensors()
    return learner.context.detach().numpy(), tensors if standardisation is None else standardisation.folded(tensors)


class WeightAverage:
    """The mean of the parameters over the steps from `start` on."""

    def __init__(self, parameters: list[nn.Parameter], start: int) -> None:
        self._parameters, self._start = parameters, start
        self._sums = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
        self._count = 0

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Counts the parameters as they are after `step`."""
        if step >= self._start:
            self._count += 1
            for total, parameter in zip(self._sums, self._parameters):
                total += parameter

    @torch.no_grad()
    def apply(self) -> None:
        """Puts the mean in the parameters' place; nothing, when no step was counted."""
        if self._count:
            for total, parameter in zip(self._sums, self._parameters):
                parameter.copy_(total / self._count)
