"""Seeded BCa bootstrap intervals (Efron 1987), resampled by image.

Random numbers are SplitMix64 (Steele, Lea, Flood 2014), so that any language can draw the same
samples: replicate r starts a stream at output r of the stream of the seed, and its k-th index
is ((u_k >> 32) * n) >> 32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

GAMMA = 0x9E3779B97F4A7C15
JACKKNIFE_GROUPS = 200  # image i is in group i mod 200: bounds the cost of the acceleration
SAME = 1e-12  # values this close are equal, so that rounding decides nothing

# Indices of a sample [m] to the value of every statistic.
Statistics = Callable[[np.ndarray], np.ndarray]


def splitmix64(seed: int, start: int, count: int) -> np.ndarray:
    """Outputs `start` .. `start + count - 1` of the stream, uint64."""
    with np.errstate(over="ignore"):
        steps = np.arange(start + 1, start + count + 1, dtype=np.uint64)
        z = np.uint64(seed) + steps * np.uint64(GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def resample(seed: int, replicate: int, n: int) -> np.ndarray:
    """Indices [n], drawn with replacement; n below 2^32."""
    stream = int(splitmix64(seed, replicate, 1)[0])
    return ((splitmix64(stream, 0, n) >> np.uint64(32)) * np.uint64(n) >> np.uint64(32)).astype(np.int64)


@dataclass(frozen=True)
class BootstrapConfig:
    """How intervals are made; 0 replicates: none."""

    replicates: int = 2000
    confidence: float = 0.95
    seed: int = 1

    def __post_init__(self) -> None:
        if self.replicates < 0:
            raise ValueError(f"replicates: {self.replicates} is below 0")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence: {self.confidence} is not between 0 and 1")
        if not 0 <= self.seed < 1 << 64:
            raise ValueError(f"seed: {self.seed} is not an unsigned number of 64 bits")


def intervals(n: int, estimates: np.ndarray, compute: Statistics, config: BootstrapConfig) -> list[tuple[float, float]]:
    """An interval for each statistic; (NaN, NaN) where fewer than half of the replicates define it."""
    if config.replicates == 0:
        return [(math.nan, math.nan)] * len(estimates)
    drawn = np.stack([compute(resample(config.seed, r, n)) for r in range(config.replicates)])
    groups = min(n, JACKKNIFE_GROUPS)
    place = np.arange(n)
    left = np.stack([compute(place[place % groups != g]) for g in range(groups)])
    return [bca(e, drawn[:, i], left[:, i], config.confidence) for i, e in enumerate(estimates)]


def bca(estimate: float, drawn: np.ndarray, left: np.ndarray, confidence: float) -> tuple[float, float]:
    """Bias-corrected and accelerated interval from replicates and jackknife values; NaNs are left out."""
    values = np.sort(drawn[~np.isnan(drawn)])
    count = len(values)
    if math.isnan(estimate) or 2 * count < len(drawn):
        return math.nan, math.nan
    margin = SAME * max(1.0, abs(estimate))
    below = float((values < estimate - margin).sum())
    equal = float((np.abs(values - estimate) <= margin).sum())
    share = min(max((below + equal / 2) / count, 0.5 / count), 1 - 0.5 / count)
    bias, acceleration = float(ndtri(share)), _acceleration(left[~np.isnan(left)])
    ends = []
    for tail in ((1 - confidence) / 2, 1 - (1 - confidence) / 2):
        z = bias + float(ndtri(tail))
        scale = 1 - acceleration * z
        ends.append(quantile(values, float(ndtr(bias + z / scale)) if scale > 1e-9 else tail))
    return ends[0], ends[1]


def _acceleration(left: np.ndarray) -> float:
    if len(left) == 0:
        return 0.0
    d = left.mean() - left
    if np.abs(d).max() <= SAME * max(1.0, float(np.abs(left).max())):
        return 0.0
    return float((d**3).sum() / (6 * (d**2).sum() ** 1.5))


def quantile(ordered: np.ndarray, share: float) -> float:
    """Linear between order statistics (Hyndman and Fan's type 7)."""
    place = share * (len(ordered) - 1)
    low = min(int(place), len(ordered) - 1)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))
