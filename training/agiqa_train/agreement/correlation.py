"""Rank and linear correlation of two samples of equal length, and their root mean squared error.

A correlation that is not defined (fewer than two values, or a constant sample) is NaN. Sums run
from the first value to the last (`total`): with that, every figure is the same to the last bit in
any language that adds and multiplies as IEEE 754 says.
"""

from __future__ import annotations

import math

import numpy as np

SMALLEST_SPREAD = 1e-100  # its square is still a normal number; below it a sample is constant


def total(values: np.ndarray) -> float:
    """The sum, one value after the other; NumPy's own sum adds in an order of its own."""
    return float(np.cumsum(values)[-1])


def mean(values: np.ndarray) -> float:
    """The mean of the ordered sum."""
    return total(values) / len(values)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[inverse]


def plcc(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's linear correlation, two passes: means first, then centred sums."""
    if len(x) < 2 or np.ptp(x) <= SMALLEST_SPREAD or np.ptp(y) <= SMALLEST_SPREAD:
        return math.nan
    dx, dy = x - mean(x), y - mean(y)
    return total(dx * dy) / math.sqrt(total(dx * dx)) / math.sqrt(total(dy * dy))


def srcc(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation: Pearson's on the ranks."""
    return plcc(ranks(x), ranks(y))


def rmse(x: np.ndarray, y: np.ndarray) -> float:
    """Root mean squared difference."""
    return math.sqrt(mean((x - y) * (x - y)))


def krcc(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-b, O(n log n) (Knight 1966).

    Pairs sorted by x then y; the discordant pairs are then the inversions of y. With n0 = n(n-1)/2
    pairs in all, n1 tied in x, n2 in y and n3 in both, concordant minus discordant is
    n0 - n1 - n2 + n3 - 2*inversions, and tau-b divides it by sqrt(n0-n1) and by sqrt(n0-n2).
    """
    n = len(x)
    x_rank = np.unique(x, return_inverse=True)[1].astype(np.int64)
    y_rank = np.unique(y, return_inverse=True)[1].astype(np.int64)
    pairs = n * (n - 1) // 2
    x_ties, y_ties, both = _tied_pairs(x_rank), _tied_pairs(y_rank), _tied_pairs(x_rank * n + y_rank)
    if n < 2 or pairs in (x_ties, y_ties):
        return math.nan
    swaps = inversions(y_rank[np.lexsort((y_rank, x_rank))])
    difference = pairs - x_ties - y_ties + both - 2 * swaps
    return difference / math.sqrt(pairs - x_ties) / math.sqrt(pairs - y_ties)


def _tied_pairs(codes: np.ndarray) -> int:
    counts = np.unique(codes, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def inversions(values: np.ndarray) -> int:
    """Pairs i < j with values[i] > values[j], by a merge sort that runs on all blocks of a level at once."""
    size = 1 << max(0, len(values) - 1).bit_length()
    padding = np.full(size - len(values), values.max() if len(values) else 0, dtype=np.int64)
    row = np.concatenate([values.astype(np.int64), padding])  # at the end and never smaller: no inversion
    swaps, width = 0, 1
    while width < size:
        blocks = row.reshape(-1, 2 * width)
        order = np.argsort(blocks, axis=1, kind="stable")
        place = np.broadcast_to(np.arange(2 * width), order.shape)
        right = order >= width
        # Of a right element at place p with j right ones before it, p - j left ones are not larger.
        swaps += int((width - (place[right] - (order[right] - width))).sum())
        row = np.take_along_axis(blocks, order, axis=1).reshape(-1)
        width *= 2
    return swaps
