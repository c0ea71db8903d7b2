"""Initial filters of the patch convolution, taken from the statistics of patches.

Distortions live in fine detail, which natural pictures carry a thousand times less energy in than
in their slow shades, so a random filter sees shades alone. Filters that are whitened by the
principal components of patches, and kept apart by band, show the fine bands from the first step.
"""

from __future__ import annotations

import numpy as np

from .data import Cache
from .preprocess import MEAN, STD

FLOOR = 0.02  # least standard deviation that is divided by, in normalised pixel units


def sample_patches(cache: Cache, patch: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Normalised patches float32 [count, 3 * patch * patch], channels first, from all versions."""
    groups, versions, size = cache.pixels.shape[:3]
    out = np.empty((count, 3, patch, patch), np.float32)
    for i in range(count):
        top, left = rng.integers(0, size - patch + 1, 2)
        cell = cache.pixels[rng.integers(groups), rng.integers(versions), top : top + patch, left : left + patch]
        out[i] = ((cell / np.float32(255) - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)
    return out.reshape(count, -1)


def whitened_filters(patches: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """Filters float32 [width, 3 * patch * patch] with about unit response on the patches.

    A quarter are the leading components; the other three quarters are random mixtures within a
    middle, a high and a highest band of components.
    """
    values, vectors = np.linalg.eigh(np.cov(patches, rowvar=False))
    order = np.argsort(values)[::-1]
    spread = np.sqrt(np.maximum(values[order], 0)) + FLOOR
    whitening = (vectors[:, order] / spread).T
    lead = width // 4
    edges = [lead, 3 * lead, 8 * lead, len(whitening)]
    filters = [whitening[:lead]]
    for i, (start, end) in enumerate(zip(edges, edges[1:])):
        rows = width - 3 * lead if i == 2 else lead
        mixture, _ = np.linalg.qr(rng.standard_normal((end - start, rows)))
        filters.append(mixture.T @ whitening[start:end])
    return np.concatenate(filters).astype(np.float32)
