"""The exact test-time preprocessing, up to the uint8 pixels that cross the wire."""

from __future__ import annotations

import numpy as np
import PIL
from PIL import Image

# How a decoded picture is resized, by the names that the server knows. Pillow up to 12 always resamples the rows
# first. From 13 on it begins with the columns where the height shrinks by more than twice as many pixels as the width,
# which rounds differently.
PILLOW12, PILLOW13 = "pillow12-bicubic-224", "pillow13-bicubic-224"
RECIPES = (PILLOW12, PILLOW13)


def recipe_of(version: str) -> str:
    """The recipe of a version of Pillow."""
    return PILLOW12 if int(version.split(".")[0]) < 13 else PILLOW13


# That of the Pillow in use, by which training prepares its pictures.
RECIPE = recipe_of(PIL.__version__)

IMAGE_SIZE = 224
# OpenAI CLIP's channel statistics (clip/clip.py, `_transform`), on values in 0..1, RGB.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def resize_short_side(image: Image.Image, size: int = IMAGE_SIZE, recipe: str = RECIPE) -> Image.Image:
    """Short side to `size`, bicubic and antialiased; the long side is truncated as torchvision does.

    One call for each pass gives the order of the recipe, whatever the Pillow in use.
    """
    width, height = image.size
    if width <= height:
        target = (size, int(size * height / width))
    else:
        target = (int(size * width / height), size)
    columns_first = recipe == PILLOW13 and height - target[1] > max(0, 2 * (width - target[0]))
    between = (width, target[1]) if columns_first else (target[0], height)
    return image.resize(between, Image.Resampling.BICUBIC).resize(target, Image.Resampling.BICUBIC)


def center_crop(image: Image.Image, size: int = IMAGE_SIZE) -> Image.Image:
    """The middle square; the offset is rounded half to even, as torchvision's CenterCrop does."""
    left = int(round((image.width - size) / 2.0))
    top = int(round((image.height - size) / 2.0))
    return image.crop((left, top, left + size, top + size))


def to_pixels(image: Image.Image, size: int = IMAGE_SIZE) -> np.ndarray:
    """A decoded image to uint8 [size, size, 3], RGB."""
    return np.asarray(center_crop(resize_short_side(image.convert("RGB"), size), size))
