"""Views: the 224 x 224 squares of a picture that a checkpoint looks at.

`224` is what CLIP was trained on: short side to 224, centre crop. `S/rRcC` is a cell of a grid at a
higher resolution: short side to S, centre crop to S x S, and of that the square in row R, column C.
A view is made by a recipe; another one than Pillow 12's follows a colon: `224:pillow13-bicubic-224`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from .preprocess import IMAGE_SIZE, PILLOW12, RECIPE, RECIPES, center_crop, resize_short_side

LARGEST = 1120
CELL = re.compile(r"([1-9][0-9]{2,3})/r(0|[1-9])c(0|[1-9])")


@dataclass(frozen=True, order=True)
class View:
    """One view; `str` gives its name."""

    size: int = IMAGE_SIZE
    row: int = 0
    column: int = 0
    recipe: str = RECIPE

    @staticmethod
    def parse(text: str) -> View:
        """A view by its name, as the server gives it; raises ValueError."""
        square, colon, recipe = text.partition(":")
        if colon and (recipe not in RECIPES or recipe == PILLOW12):
            raise ValueError(f"view {text!r}: {recipe!r} is not a recipe that a name has after the colon")
        return View._of_square(square, recipe or PILLOW12)

    @staticmethod
    def _of_square(text: str, recipe: str) -> View:
        if text == str(IMAGE_SIZE):
            return View(recipe=recipe)
        match = CELL.fullmatch(text)
        if match is None:
            raise ValueError(f"view {text!r}: want 224 or S/rRcC, such as 448/r0c1")
        size, row, column = (int(part) for part in match.groups())
        cells = size // IMAGE_SIZE
        if size % IMAGE_SIZE or not IMAGE_SIZE < size <= LARGEST:
            raise ValueError(f"view {text!r}: size {size} is not a multiple of {IMAGE_SIZE} from 448 to {LARGEST}")
        if row >= cells or column >= cells:
            raise ValueError(f"view {text!r}: rows and columns of {size} are 0 to {cells - 1}")
        return View(size, row, column, recipe)

    @property
    def square(self) -> str:
        """The name without the recipe."""
        return str(self.size) if self.size == IMAGE_SIZE else f"{self.size}/r{self.row}c{self.column}"

    def __str__(self) -> str:
        return self.square if self.recipe == PILLOW12 else f"{self.square}:{self.recipe}"

    def by(self, recipe: str) -> View:
        """The same square by a recipe."""
        return replace(self, recipe=recipe)


DEFAULT_VIEWS = (View(),)


def grid(size: int) -> tuple[View, ...]:
    """Every cell at a size, row by row."""
    cells = size // IMAGE_SIZE
    return tuple(View(size, row, column) for row in range(cells) for column in range(cells))


def parse_views(text: str) -> tuple[View, ...]:
    """Comma-separated squares, by the recipe of the Pillow in use; raises ValueError."""
    return tuple(View._of_square(part.strip(), RECIPE) for part in text.split(","))


def view_pixels(image: Image.Image, views: Sequence[View]) -> np.ndarray:
    """A decoded picture to uint8 [V, 224, 224, 3], RGB. Views of one size and recipe share one resize."""
    image = image.convert("RGB")
    squares = {
        (size, recipe): np.asarray(center_crop(resize_short_side(image, size, recipe), size))
        for size, recipe in {(view.size, view.recipe) for view in views}
    }
    side = IMAGE_SIZE
    return np.stack(
        [
            squares[v.size, v.recipe][v.row * side : (v.row + 1) * side, v.column * side : (v.column + 1) * side]
            for v in views
        ]
    )
