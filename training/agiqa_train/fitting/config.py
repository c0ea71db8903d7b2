"""What a run is told. The defaults are CLIP-AGIQA's, from the original repository's configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..prompts import CATEGORIES, POSITIONS

OPTIMIZERS = ("sgd", "adamw")
AUGMENTATIONS = ("crop-flip", "none")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class FitConfig:
    """Prompts, head and schedule."""

    categories: tuple[str, ...] = CATEGORIES
    context_length: int = 16
    class_specific: bool = False
    class_token_position: str = "end"
    context_words: str | None = None  # words whose embeddings the context starts from; None: N(0, 0.02)
    hidden: int = 512
    dropout: float = 0.5
    mean_start: bool = False  # start the last bias at the mean score; the paper does not
    optimizer: str = "sgd"
    learning_rate: float = 0.002
    momentum: float = 0.9  # SGD
    weight_decay: float = 5e-4
    epochs: int = 100
    warmup_epochs: int = 1
    warmup_rate: float = 1e-5
    batch: int = 32
    augmentation: str = "crop-flip"
    precision: str = "auto"
    seed: int = 1

    def __post_init__(self) -> None:
        wants = {
            f"class_token_position: want one of {', '.join(POSITIONS)}": self.class_token_position in POSITIONS,
            f"optimizer: want one of {', '.join(OPTIMIZERS)}": self.optimizer in OPTIMIZERS,
            f"augmentation: want one of {', '.join(AUGMENTATIONS)}": self.augmentation in AUGMENTATIONS,
            f"precision: want one of {', '.join(PRECISIONS)}": self.precision in PRECISIONS,
            "context_length: want 1 or more": self.context_length >= 1,
            "hidden: want 1 or more": self.hidden >= 1,
            "dropout: want 0 or more, below 1": 0 <= self.dropout < 1,
            "learning_rate: want above 0": self.learning_rate > 0,
            "epochs: want 1 or more": self.epochs >= 1,
            "batch: want 1 or more": self.batch >= 1,
        }
        faults = [fault for fault, held in wants.items() if not held]
        if faults:
            raise ValueError("; ".join(faults))


def learning_rate_at(epoch: int, config: FitConfig) -> float:
    """Of an epoch from 0: constant warm-up, then a cosine of `epochs` epochs that starts behind it.

    The cosine's last `warmup_epochs` steps are never reached; it is so in the original's scheduler.
    """
    if epoch < config.warmup_epochs:
        return config.warmup_rate
    done = (epoch - config.warmup_epochs) / config.epochs
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2
