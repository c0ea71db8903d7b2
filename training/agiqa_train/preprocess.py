"""The exact test-time preprocessing, up to the uint8 pixels that cross the wire."""

from __future__ import annotations

import numpy as np
from PIL import Image

IMAGE_SIZE = 224
# OpenAI CLIP's channel statistics (clip/clip.py, `_transform`), on values in 0..1, RGB.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def resize_short_side(image: Image.Image, size: int = IMAGE_SIZE) -> Image.Image:
    """Short side to `size`, bicubic and antialiased; the long side is truncated as torchvision does.

    Pillow up to 12 always resamples the rows first. From 13 on it begins with the columns of a tall
    picture, which rounds differently: two calls keep the order that training had.
    """
    width, height = image.size
    if width <= height:
        target = (size, int(size * height / width))
    else:
        target = (int(size * width / height), size)
    rows = image.resize((target[0], image.height), Image.Resampling.BICUBIC)
    return rows.resize(target, Image.Resampling.BICUBIC)


def center_crop(image: Image.Image, size: int = IMAGE_SIZE) -> Image.Image:
    """The middle square; the offset is rounded half to even, as torchvision's CenterCrop does."""
    left = int(round((image.width - size) / 2.0))
    top = int(round((image.height - size) / 2.0))
    return image.crop((left, top, left + size, top + size))


def to_pixels(image: Image.Image, size: int = IMAGE_SIZE) -> np.ndarray:
    """A decoded image to uint8 [size, size, 3], RGB."""
    return np.asarray(center_crop(resize_short_side(image.convert("RGB"), size), size))
