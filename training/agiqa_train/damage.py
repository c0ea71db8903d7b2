"""Which damaged versions of a picture the heads are trained on, and the score that each is given.

Nobody rated anything: the score is a pseudo-MOS computed from how strong the damage is. Damage acts
on the picture at its full size, one kind at a time; views are cut out of the damaged picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from .distort import KIND_NAMES, KINDS, distort


@dataclass(frozen=True)
class DamageConfig:
    """The versions of one picture: a clean one, then every kind once for each range of severities."""

    kinds: tuple[str, ...] = KIND_NAMES
    ranges: tuple[tuple[float, float], ...] = ((0.1, 0.55), (0.55, 1.0))
    seed: int = 11

    @property
    def versions(self) -> int:
        """How many there are of one picture."""
        return 1 + len(self.kinds) * len(self.ranges)

    def of_kind(self, kind: str) -> list[int]:
        """The numbers of the versions that have a kind."""
        place, count = self.kinds.index(kind), len(self.kinds)
        return [1 + place + count * i for i in range(len(self.ranges))]


@dataclass(frozen=True)
class Opinion:
    """The pseudo-MOS: 1 + 4 * product(1 - weight * severity); 5 is clean. Other kinds have the weight of `KINDS`."""

    weights: tuple[tuple[str, float], ...] = ()

    def mos(self, severities: np.ndarray) -> np.ndarray:
        """Severities [..., kinds] to scores in 1..5."""
        own = dict(self.weights)
        weights = np.array([own.get(kind.name, kind.weight) for kind in KINDS], dtype=np.float32)
        return (1 + 4 * np.prod(1 - weights * severities, axis=-1)).astype(np.float32)


def draw_versions(config: DamageConfig, index: int) -> np.ndarray:
    """Severities float32 [versions, kinds] of picture `index`; row 0 is clean."""
    rng = np.random.default_rng([config.seed, index])
    severities = np.zeros((config.versions, len(KINDS)), np.float32)
    row = 1
    for low, high in config.ranges:
        for name in config.kinds:
            severities[row, KIND_NAMES.index(name)] = rng.uniform(low, high)
            row += 1
    return severities


def apply_versions(image: Image.Image, severities: np.ndarray, config: DamageConfig, index: int) -> list[Image.Image]:
    """The versions of picture `index` themselves; each has a random generator of its own."""
    return [
        distort(image, row, np.random.default_rng([config.seed, index, version]))
        for version, row in enumerate(severities)
    ]
