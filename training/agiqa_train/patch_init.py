"""Initial values of the first layers, taken from the statistics of patches.

Distortions live in fine detail, which natural pictures carry a thousand times less energy in than
in their slow shades, so a random filter sees shades alone. Filters that are whitened by the
principal components of patches, and kept apart by band, show the fine bands from the first step.

What tells noise from blur is how strong a band is, not its sign. So the first MLP begins as a
rectifier of the finer bands, whose mean over the patches attention can then take. And since the
first norm would divide the overall strength away, a few channels begin as constants: after the
norm they hold its inverse.
"""

from __future__ import annotations

import numpy as np
import torch

from .clip import VisionTower
from .data import Cache
from .preprocess import MEAN, STD

CONSTANT_CHANNELS = 8
CONSTANT = 1.5  # beside responses of about 1
RECTIFIER_GAIN = 2.0  # QuickGELU bends round 0 over a width of about 1 / gain
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


def start_from_patches(tower: VisionTower, patches: np.ndarray, rng: np.random.Generator) -> None:
    """Sets patch filters, constant channels and the rectifier of the first block in place."""
    weight = tower.conv1.weight
    filters = len(weight) - CONSTANT_CHANNELS
    signed = filters // 4
    mlp = tower.transformer.resblocks[0].mlp
    with torch.no_grad():
        weight.zero_()
        whitened = torch.from_numpy(whitened_filters(patches, filters, rng))
        weight[:filters].copy_(whitened.reshape(filters, *weight.shape[1:]))
        tower.positional_embedding[:, filters:] = CONSTANT
        # x + 2 relu(-x) = |x|, one hidden unit for each channel that is rectified
        rectified = torch.arange(signed, filters)
        units = torch.arange(len(rectified))
        mlp.c_fc.weight[units] = 0
        mlp.c_fc.weight[units, rectified] = -RECTIFIER_GAIN
        mlp.c_fc.bias[units] = 0
        mlp.c_proj.weight[:, units] = 0
        mlp.c_proj.weight[rectified, units] = 2 / RECTIFIER_GAIN
