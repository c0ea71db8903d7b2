"""Synthetic distortions: pure functions of an RGB picture, a severity in 0..1 and a random generator.

They act on the picture at its own size, before any preprocessing, as damage does in real life.
Lengths (blur radius, block size, warp) grow with the picture, so that a severity looks alike at
every size once the picture has been reduced for the model.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from .artefacts import ghost, melt, oil, shuffle, swirl, wrong_colour

REFERENCE = 224.0  # lengths are stated for a picture with this short side


def scale_of(image: Image.Image) -> float:
    """Short side in units of the reference."""
    return min(image.size) / REFERENCE


def geometric(start: float, end: float, severity: float) -> float:
    """From `start` at severity 0 to `end` at 1 in equal ratios, which is closer to the eye than equal steps."""
    return start * (end / start) ** severity


def _clip(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))


def gaussian_blur(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """Radius 0.35 to 4 reference pixels."""
    return image.filter(ImageFilter.GaussianBlur(geometric(0.35, 4.0, severity) * scale_of(image)))


def gaussian_noise(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """Standard deviation 3 to 60 of 255 at the reference size, growing with the root of the size.

    Reducing a picture averages noise away in proportion to the size; the root is halfway between
    one strength on paper and one strength to the eye.
    """
    sigma = geometric(3.0, 60.0, severity) * scale_of(image) ** 0.5
    values = np.asarray(image, dtype=np.float32)
    if rng.random() < 0.2:  # the same in all channels, as film grain
        return _clip(values + sigma * rng.standard_normal((*values.shape[:2], 1), dtype=np.float32))
    return _clip(values + sigma * rng.standard_normal(values.shape, dtype=np.float32))


def shot_noise(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """Noise whose variance follows the brightness; strength as for gaussian noise at mid grey."""
    sigma = geometric(3.0, 60.0, severity) * scale_of(image) ** 0.5
    values = np.asarray(image, dtype=np.float32)
    spread = sigma * np.sqrt(values / 128.0)
    return _clip(values + spread * rng.standard_normal(values.shape, dtype=np.float32))


def jpeg(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """Quality 60 down to 3, chroma mostly at half resolution."""
    quality = round(geometric(60, 3, severity))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=2 if rng.random() < 0.8 else 0)
    return Image.open(buffer).convert("RGB")


def pixelate(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """Blocks of 1.2 to 8 reference pixels."""
    block = geometric(1.2, 8.0, severity) * scale_of(image)
    small = (max(4, round(image.width / block)), max(4, round(image.height / block)))
    down = Image.Resampling.BOX if rng.random() < 0.7 else Image.Resampling.NEAREST
    return image.resize(small, down).resize(image.size, Image.Resampling.NEAREST)


def rescale(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """Reduced by 1 to 8 and enlarged again, both bicubic, as a small picture shown large."""
    factor = 1 + 7 * severity
    small = (max(4, int(image.width / factor)), max(4, int(image.height / factor)))
    return image.resize(small, Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.BICUBIC)


def low_contrast(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """Contrast down to 15 %, around a random grey."""
    values = np.asarray(image, dtype=np.float32)
    grey = float(rng.uniform(70, 185))
    return _clip(grey + (values - grey) * (1 - 0.85 * severity))


def banding(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """From 16 levels a channel down to 3."""
    levels = round(geometric(16, 3, severity))
    values = np.asarray(image, dtype=np.float32)
    return _clip(np.round(values / 255 * (levels - 1)) * (255 / (levels - 1)))


def over_sharpen(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """Unsharp mask of up to 700 %."""
    radius = float(rng.uniform(0.8, 1.8)) * scale_of(image)
    return image.filter(ImageFilter.UnsharpMask(radius=radius, percent=int(60 + 640 * severity), threshold=0))


def warp(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """A smooth random displacement of up to 9 reference pixels, by a mesh of quadrilaterals."""
    cells = int(rng.integers(5, 9))
    reach = (1 + 8 * severity) * scale_of(image)
    xs, ys = np.linspace(0, image.width, cells + 1), np.linspace(0, image.height, cells + 1)
    nodes = np.stack(np.meshgrid(xs, ys), axis=-1)
    moved = nodes.copy()
    moved[1:-1, 1:-1] += rng.uniform(-reach, reach, (cells - 1, cells - 1, 2))
    mesh = []
    for row in range(cells):
        for column in range(cells):
            box = (*nodes[row, column].astype(int), *nodes[row + 1, column + 1].astype(int))
            corners = [moved[row, column], moved[row + 1, column], moved[row + 1, column + 1], moved[row, column + 1]]
            mesh.append((tuple(int(v) for v in box), tuple(float(v) for corner in corners for v in corner)))
    return image.transform(image.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


Distortion = Callable[[Image.Image, float, np.random.Generator], Image.Image]


@dataclass(frozen=True)
class Kind:
    """A distortion with the words for it, its weight in the pseudo-MOS and its share of the draws."""

    name: str
    phrase: str
    weight: float
    share: float
    apply: Distortion


# In the order in which they are applied when several meet: geometry and tone first, coding last.
KINDS = (
    Kind("warp", "warped", 0.5, 0.6, warp),
    Kind("contrast", "washed out", 0.6, 0.7, low_contrast),
    Kind("blur", "blurred", 0.9, 1.5, gaussian_blur),
    Kind("sharpen", "over-sharpened", 0.6, 0.7, over_sharpen),
    Kind("pixelate", "pixelated", 0.95, 1.3, pixelate),
    Kind("noise", "noisy", 0.9, 1.3, gaussian_noise),
    Kind("shot", "grainy", 0.85, 0.8, shot_noise),
    Kind("banding", "posterised", 0.65, 0.7, banding),
    Kind("jpeg", "JPEG compressed", 0.9, 2.0, jpeg),
    # Share 0: the small encoder was trained without them.
    Kind("scale", "upscaled", 0.85, 0.0, rescale),
    Kind("melt", "melted", 0.9, 0.0, melt),
    Kind("swirl", "swirled", 0.7, 0.0, swirl),
    Kind("shuffle", "jumbled", 0.7, 0.0, shuffle),
    Kind("oil", "smeared", 0.8, 0.0, oil),
    Kind("ghost", "double", 0.6, 0.0, ghost),
    Kind("colour", "off-colour", 0.4, 0.0, wrong_colour),
)
KIND_NAMES = tuple(kind.name for kind in KINDS)


def distort(image: Image.Image, severities: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Applies every kind whose severity [len(KINDS)] is above 0."""
    for kind, severity in zip(KINDS, severities):
        if severity > 0:
            image = kind.apply(image, float(severity), rng)
    return image


def pseudo_mos(severities: np.ndarray) -> np.ndarray:
    """Severities [..., len(KINDS)] to 1 + 4 * product(1 - weight * severity): 5 is clean, 1 is ruined."""
    weights = np.array([kind.weight for kind in KINDS], dtype=np.float32)
    return 1 + 4 * np.prod(1 - weights * severities, axis=-1)


def draw_severities(rng: np.random.Generator) -> np.ndarray:
    """One kind (three draws in five), two or three, each with a severity in 0.05..1."""
    count = int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))
    shares = np.array([kind.share for kind in KINDS])
    chosen = rng.choice(len(KINDS), size=count, replace=False, p=shares / shares.sum())
    severities = np.zeros(len(KINDS), dtype=np.float32)
    severities[chosen] = rng.uniform(0.05, 1.0, size=count)
    return severities
