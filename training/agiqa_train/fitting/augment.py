"""Training-time views of a picture: a random resized crop and a flip, as torchvision draws them."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

AREA = (0.08, 1.0)  # share of the picture's area
RATIO = (3 / 4, 4 / 3)  # width to height, uniform in the logarithm
ATTEMPTS = 10


def crop_box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """left, top, right, bottom of a crop of random area and ratio; a centred one when none fits."""
    for _ in range(ATTEMPTS):
        area = width * height * rng.uniform(*AREA)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
            return left, top, left + w, top + h
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def random_pixels(image: Image.Image, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random view as uint8 [size, size, 3], RGB."""
    image = image.convert("RGB")
    box = crop_box(*image.size, rng)
    view = image.crop(box).resize((size, size), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(view)
