"""Contrastive pre-training of the demo encoder on captions that name distortions.

Beside the contrastive loss there are losses on the pseudo-MOS, on the severities and on the order
within a group; their heads are thrown away afterwards. Most patches are dropped until the last
part of the run (as in FLIP, arXiv 2212.00794), which is where nearly all the speed comes from.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from .captions import describe, quality_caption, quality_targets
from .clip import Clip, ClipConfig
from .data import GROUP, Cache, read_cache
from .distort import KINDS, pseudo_mos
from .patch_init import sample_patches, start_from_patches
from .preprocess import IMAGE_SIZE, MEAN, STD
from .prompts import CATEGORIES
from .runlog import RunLog
from .team import Team, run_team
from .tokenizer import Tokenizer

BAR = "{l_bar}{bar}| {elapsed}<{remaining} {postfix}"
CAPTION_LENGTH = 32  # tokens; the longest caption of three distortions has 23


@dataclass(frozen=True)
class PretrainConfig:
    """The schedule follows the steps or the clock, whichever is further: a busy machine makes fewer
    steps and still ends in time, with its learning rate where it should be."""

    steps: int = 3000
    minutes: float = 60.0
    groups_per_step: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.03  # share of the run
    kept_patches: int = 48  # of 196, until ...
    full_from: float = 0.88  # ... this share of the run
    bfloat16: bool = True
    save_every: int = 100  # steps
    processes: int = 2
    seed: int = 1


class AuxiliaryHeads(nn.Module):
    """Unit embedding [N, D] to pseudo-MOS [N] and severities [N, kinds]."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.scale = math.sqrt(embed_dim)
        self.layers = nn.Sequential(nn.Linear(embed_dim, 128), nn.ReLU(), nn.Linear(128, 1 + len(KINDS)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.layers(x * self.scale)
        return 3 + out[:, 0], out[:, 1:]


def normalize(pixels: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] to normalised float [N, 3, H, W]."""
    x = pixels.permute(0, 3, 1, 2).float().div_(255)
    return x.sub_(torch.tensor(MEAN).reshape(1, 3, 1, 1)).div_(torch.tensor(STD).reshape(1, 3, 1, 1))


def cut(group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random 224 px square of a stored group [4, S, S, 3], mirrored half of the time."""
    top, left = rng.integers(0, group.shape[1] - IMAGE_SIZE + 1, 2)
    part = group[:, top : top + IMAGE_SIZE, left : left + IMAGE_SIZE]
    return part[:, :, ::-1] if rng.random() < 0.5 else part


def ranking_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Logistic loss on every ordered pair of a group; both [G, 4]. Pairs closer than 0.2 are left out."""
    gap = target[:, :, None] - target[:, None, :]
    wanted = gap > 0.2
    margin = predicted[:, :, None] - predicted[:, None, :]
    return F.softplus(-2 * margin[wanted]).mean() if wanted.any() else margin.sum() * 0


def contrastive_loss(images: Tensor, texts: Tensor, caption_of: Tensor, scale: Tensor) -> Tensor:
    """Images [N, D] against the unique captions [U, D] of the batch, in both directions.

    A caption may belong to several images: they share its probability in the text-to-image half.
    """
    logits = scale * images @ texts.T
    owners = F.one_hot(caption_of, len(texts)).T.to(logits.dtype)
    to_image = -(owners / owners.sum(1, keepdim=True) * F.log_softmax(logits.T, dim=1)).sum(1).mean()
    return (F.cross_entropy(logits, caption_of) + to_image) / 2


def learning_rate_at(progress: float, config: PretrainConfig) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    if progress < config.warmup:
        return config.learning_rate * max(progress / config.warmup, 0.01)
    t = min(1.0, (progress - config.warmup) / (1 - config.warmup))
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * t)))


class Pretrainer:
    """Model, auxiliary heads and optimiser of one run, with what a step needs precomputed."""

    def __init__(self, clip_config: ClipConfig, config: PretrainConfig, tokenizer: Tokenizer) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.clip = Clip(clip_config)
        self.heads = AuxiliaryHeads(clip_config.embed_dim)
        self.tokenizer = tokenizer
        self.parameters = [*self.clip.parameters(), *self.heads.parameters()]
        decayed = [p for p in self.parameters if p.ndim >= 2]
        plain = [p for p in self.parameters if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), eps=1e-6)
        self.step_count = 0
        self.elapsed = 0.0
        self._tokens: dict[str, np.ndarray] = {}

    def start(self, cache: Cache) -> None:
        """Sets the first layers from the statistics of the training pictures."""
        rng = np.random.default_rng(self.config.seed)
        patches = sample_patches(cache, self.clip.config.vision.patch, 10_000, rng)
        start_from_patches(self.clip.visual, patches, rng)

    def tokens(self, captions: list[str]) -> Tensor:
        """Token ids int64 [N, CAPTION_LENGTH]; each caption is tokenised once."""
        for caption in captions:
            if caption not in self._tokens:
                self._tokens[caption] = self.tokenizer([caption], CAPTION_LENGTH)[0]
        return torch.from_numpy(np.stack([self._tokens[c] for c in captions])).long()

    def step(self, pixels: Tensor, severities: np.ndarray, progress: float, team: Team) -> dict[str, float]:
        """One update on this member's uint8 pixels [N, 224, 224, 3] and severities [N, kinds]."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(progress, self.config)
        keep = None
        if progress < self.config.full_from:
            scores = torch.rand(len(pixels), self.clip.config.vision.patches)
            keep = scores.topk(self.config.kept_patches, dim=1).indices
        captions = [describe(row) for row in severities]
        unique = sorted(set(captions))
        caption_of = torch.tensor([unique.index(c) for c in captions])
        mos = pseudo_mos(severities)
        words = self.tokens([*unique, *(quality_caption(word) for word in CATEGORIES)])
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bfloat16):
            images = self.clip.encode_image(normalize(pixels), keep)
            texts = self.clip.encode_text(words)
        images, texts = images.float(), texts.float()
        scale = self.clip.logit_scale.exp().clamp(max=100)
        losses = self.losses(images, texts, caption_of, scale, mos, severities)
        total = sum(losses.values())
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        team.average_gradients(self.parameters)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step_count += 1
        return {name: float(value.detach()) for name, value in losses.items()}

    def losses(
        self, images: Tensor, texts: Tensor, caption_of: Tensor, scale: Tensor, mos: np.ndarray, severities: np.ndarray
    ) -> dict[str, Tensor]:
        """The weighted parts of the loss; `texts` are the unique captions, then the six quality captions."""
        described, quality = texts[: -len(CATEGORIES)], texts[-len(CATEGORIES) :]
        target = torch.from_numpy(mos.astype(np.float32))
        predicted, severity = self.heads(images)
        soft = torch.from_numpy(quality_targets(mos))
        return {
            "caption": 0.5 * contrastive_loss(images, described, caption_of, scale),
            "quality": 0.5 * F.cross_entropy(scale * images @ quality.T, soft),
            "mos": 1.0 * F.smooth_l1_loss(predicted, target, beta=0.5),
            "severity": 5.0 * F.mse_loss(severity, torch.from_numpy(severities)),
            "rank": 0.5 * ranking_loss(predicted.reshape(-1, GROUP), target.reshape(-1, GROUP)),
        }

    def save(self, path: Path) -> None:
        """Everything that is needed to go on, or to go to the next stage."""
        state = {
            "clip": self.clip.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step_count,
            "elapsed": self.elapsed,
        }
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Takes a saved state up."""
        state = torch.load(path, weights_only=True)
        self.clip.load_state_dict(state["clip"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step_count, self.elapsed = state["step"], state["elapsed"]


    def progress(self) -> float:
        """Share of the schedule that is behind, 1 when it is over."""
        return min(1.0, max(self.step_count / self.config.steps, self.elapsed / (60 * self.config.minutes)))


def train_member(trainer: Pretrainer, cache: Cache, path: Path, log: RunLog, team: Team) -> None:
    """One member's part of the stage whose state is kept at `path`."""
    config = trainer.config
    if path.exists():
        trainer.load(path)
    elif team.leads:
        trainer.start(cache)
    team.share_start(trainer.parameters)
    rng = np.random.default_rng([config.seed, trainer.step_count, team.rank])
    torch.manual_seed(int(rng.integers(2**31)))
    trainer.clip.train()
    share = config.groups_per_step // team.size
    last = time.monotonic()
    with tqdm(total=100, unit="%", disable=None if team.leads else True, bar_format=BAR) as bar:
        while (progress := team.agree(trainer.progress())) < 1:
            chosen = rng.choice(len(cache.pixels), share, replace=False)
            pixels = torch.from_numpy(np.concatenate([cut(cache.pixels[i], rng) for i in chosen]))
            losses = trainer.step(pixels, cache.severities[chosen].reshape(len(pixels), -1), progress, team)
            now = time.monotonic()
            trainer.elapsed += now - last
            rate, last = team.size * len(pixels) / (now - last), now
            if not team.leads:
                continue
            bar.n = round(100 * progress, 1)
            bar.set_postfix_str(f"step {trainer.step_count} mos {losses['mos']:.3f} {rate:.0f} img/s")
            if trainer.step_count % 20 == 0:
                log.add("pretrain", step=trainer.step_count, progress=round(progress, 4), rate=round(rate, 1), **losses)
            if trainer.step_count % config.save_every == 0:
                trainer.save(path)
    if team.leads:
        trainer.save(path)


@dataclass(frozen=True)
class PretrainJob:
    """What a member needs to begin; picklable."""

    clip: ClipConfig
    config: PretrainConfig
    cache: Path
    path: Path
    log: RunLog

    def __call__(self, team: Team) -> None:
        trainer = Pretrainer(self.clip, self.config, Tokenizer())
        train_member(trainer, read_cache(self.cache), self.path, self.log, team)


def pretrain(job: PretrainJob) -> Pretrainer:
    """Runs, or goes on with, the stage; returns the trainer in its final state."""
    run_team(job.config.processes, job.path.parent, job)
    trainer = Pretrainer(job.clip, job.config, Tokenizer())
    trainer.load(job.path)
    trainer.clip.eval()
    return trainer
