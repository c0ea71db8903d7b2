"""Writes checkpoint folders as the training loop of the original repository (Dassl's) saves them.

Real optimizers and schedulers are trained a little and saved, so that the files hold whatever
torch pickles for them: with a warm-up, a scheduler inside the scheduler's state.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler


class ConstantWarmup(LRScheduler):
    """A constant rate for some epochs, then another scheduler's: keeps it as an attribute, so it is saved too."""

    def __init__(self, optimizer: torch.optim.Optimizer, successor: LRScheduler, warmup_epoch: int, rate: float) -> None:
        self.successor, self.warmup_epoch, self.rate = successor, warmup_epoch, rate
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        if self.last_epoch >= self.warmup_epoch:
            return self.successor.get_last_lr()
        return [self.rate for _ in self.base_lrs]

    def step(self, epoch: int | None = None) -> None:
        if self.last_epoch >= self.warmup_epoch:
            self.successor.step(epoch)
            self._last_lr = self.successor.get_last_lr()
        else:
            super().step(epoch)


class PromptLearner(nn.Module):
    """The state that matters: `ctx`, and the two buffers that the original saves and ignores."""

    def __init__(self, ctx: Tensor, categories: int = 6) -> None:
        super().__init__()
        width = ctx.shape[-1]
        self.ctx = nn.Parameter(ctx.clone())
        self.register_buffer("token_prefix", torch.zeros(categories, 1, width))
        self.register_buffer("token_suffix", torch.zeros(categories, 76 - ctx.shape[-2], width))


def regression(embed_dim: int, hidden: int, categories: int = 6) -> nn.Sequential:
    """The original head."""
    return nn.Sequential(
        nn.Dropout(),
        nn.Linear((1 + categories) * embed_dim, hidden),
        nn.ReLU(True),
        nn.Dropout(),
        nn.Linear(hidden, 1),
    )


def save_part(module: nn.Module, folder: Path, epoch: int, val_result: object, name: str, warmup: bool) -> None:
    """One part, after a step of training whose gradient is 0, so that its weights stay as they were."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.002, momentum=0.9)
    scheduler: LRScheduler = CosineAnnealingLR(optimizer, 100.0)
    if warmup:
        scheduler = ConstantWarmup(optimizer, scheduler, 1, 1e-5)
    sum(parameter.sum() * 0 for parameter in module.parameters()).backward()
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "state_dict": OrderedDict(module.state_dict()),
        "epoch": epoch,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "val_result": val_result,
    }
    torch.save(document, folder / (name or f"model.pth.tar-{epoch}"))


def save_original(
    folder: Path,
    ctx: Tensor,
    head: nn.Module,
    epoch: int = 100,
    val_result: object = None,
    name: str = "",
    warmup: bool = True,
) -> None:
    """Both parts of one epoch."""
    save_part(PromptLearner(ctx), folder / "prompt_learner", epoch, val_result, name, warmup)
    save_part(head, folder / "regression", epoch, val_result, name, warmup)
