"""Writes the bundles that hold the server's reader of format 2 to this package.

    python -m agiqa_train.golden_bundle checkpoint/testdata

`meaning` has every optional key but the recipe, and `recipe` that one. The tensors are random and tiny: the bundle belongs to no encoder.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from .bundle import Checkpoint, write_bundle
from .meaning import Evaluation, Interval, Meaning, ScoreScale
from .preprocess import PILLOW13
from .views import View

DIM, WIDTH, HIDDEN, CENTRES = 8, 6, 4, 3


def golden_checkpoint() -> tuple[Checkpoint, np.ndarray, np.ndarray]:
    """The checkpoint, two image embeddings [2, 8] and its category embeddings [6, 8]."""
    rng = np.random.default_rng(20261129)

    def numbers(*shape: int) -> np.ndarray:
        return rng.integers(-8, 9, shape).astype(np.float32) / 8

    def unit(count: int) -> np.ndarray:
        rows = numbers(count, DIM) + 0.0625
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    head = {
        "head.0.weight": numbers(HIDDEN, 7 * DIM),
        "head.0.bias": numbers(HIDDEN),
        "head.1.weight": numbers(1, HIDDEN),
        "head.1.bias": numbers(1),
    }
    meaning = Meaning(
        task="authenticity",
        views=tuple(View.parse(name) for name in ("224", "448/r0c0", "448/r0c1", "1120/r4c4")),
        score=ScoreScale(0.5, 100, "MOS", clamp=True),
        interval=Interval(0.9, (20.25, 60.5), (3.125, 4.1, 2.7)),
        threshold=0.35,
        evaluation=(Evaluation("made up", "authenticity", 12, 0.5, 0.25, 0.75),),
    )
    checkpoint = Checkpoint(
        "meaning",
        numbers(4, WIDTH),
        head,
        "none",
        "sha256:" + "0" * 64,
        "middle",
        meaning=meaning,
        reference=unit(CENTRES),
    )
    return checkpoint, unit(2), unit(6)


def recipe_checkpoint() -> tuple[Checkpoint, np.ndarray, np.ndarray]:
    """The same tensors by another recipe."""
    checkpoint, images, texts = golden_checkpoint()
    views = tuple(View.parse(f"{square}:{PILLOW13}") for square in ("224", "448/r0c1"))
    meaning = Meaning(views=views, score=checkpoint.meaning.score)
    return replace(checkpoint, name="recipe", meaning=meaning, reference=None), images, texts


if __name__ == "__main__":
    for bundle in (golden_checkpoint(), recipe_checkpoint()):
        print(write_bundle(Path(sys.argv[1]) / bundle[0].name, *bundle))
