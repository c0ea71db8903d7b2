"""What a checkpoint says of its own scores: a prediction interval, and which pictures it was made for.

Both come from pictures that the head was not trained on, and from nothing that people rated: the
interval holds for the pseudo-MOS of damaged pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .meaning import Interval, ScoreScale


@dataclass(frozen=True)
class ConformalConfig:
    """Split-conformal prediction, by bin of the raw score."""

    coverage: float = 0.9
    bins: int = 4
    least: int = 30  # pictures in a bin; fewer bins are made when there are not enough


def calibrate_interval(raw: np.ndarray, mos: np.ndarray, scale: ScoreScale, config: ConformalConfig) -> Interval:
    """Raw scores [N] of held-out pictures and their true ones to an interval.

    The half width of a bin is the ceil((n + 1) * coverage)-th smallest of its n errors, which is what
    makes the coverage at least the nominal one for pictures of the same kind. Raises ValueError when
    there are too few pictures for that.
    """
    bins = max(1, min(config.bins, len(raw) // config.least))
    edges = np.unique(np.quantile(raw, np.arange(1, bins) / bins).astype(np.float64))
    errors = np.abs(np.clip(raw, scale.min, scale.max) - mos)
    place = np.searchsorted(edges, raw, side="right")
    widths = []
    for i in range(len(edges) + 1):
        own = np.sort(errors[place == i])
        rank = math.ceil((len(own) + 1) * config.coverage)
        if rank > len(own):
            raise ValueError(f"interval: {len(own)} pictures are too few for a coverage of {config.coverage:g}")
        widths.append(float(own[rank - 1]))
    return Interval(config.coverage, tuple(edges.tolist()), tuple(widths))


def coverage(interval: Interval, raw: np.ndarray, mos: np.ndarray, scale: ScoreScale) -> float:
    """Share of pictures [N] whose true score lies in the interval round their raw score."""
    return float((np.abs(np.clip(raw, scale.min, scale.max) - mos) <= interval.half_width(raw)).mean())


def reference_centres(rows: np.ndarray, count: int, seed: int, rounds: int = 30) -> np.ndarray:
    """Unit vectors [N, D] to `count` centres [K, D] of unit length, by spherical k-means from k-means++ seeds."""
    rng = np.random.default_rng(seed)
    rows = rows.astype(np.float32)
    count = min(count, len(rows))
    centres = rows[rng.integers(len(rows))][None]
    nearest = rows @ centres[0]
    while len(centres) < count:
        distance = np.maximum(1 - nearest.astype(np.float64), 0) + 1e-12
        centres = np.concatenate([centres, rows[rng.choice(len(rows), p=distance / distance.sum())][None]])
        nearest = np.maximum(nearest, rows @ centres[-1])
    for _ in range(rounds):
        owner = (rows @ centres.T).argmax(axis=1)
        sums = np.stack([rows[owner == k].sum(axis=0, dtype=np.float64) for k in range(count)])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        moved = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres).astype(np.float32)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def distances(embeddings: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Embeddings [N, V, D] to distances [N]: the mean over the views of 1 - the largest cosine with a centre."""
    return (1 - (embeddings @ centres.T).max(axis=-1)).mean(axis=-1)
