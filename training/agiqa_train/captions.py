"""What captions say: which distortions a picture has, how strong, and a quality word."""

from __future__ import annotations

import numpy as np

from .distort import KINDS
from .prompts import CATEGORIES

# Upper severity of a level and its word.
LEVELS = ((0.33, "slightly"), (0.66, "moderately"), (1.01, "heavily"))
# Forms of a caption of damage and of one of quality. The first of each is the one that the small encoder was taught.
FORMS = (
    ("a {} image", "an image of {} quality"),
    ("a {} photo", "a photo of {} quality"),
    ("{}", "{}"),
    ("this picture is {}.", "this picture is {}."),
)


def level_word(severity: float) -> str:
    """The word for a severity in 0..1."""
    return next(word for limit, word in LEVELS if severity < limit)


def describe(severities: np.ndarray, form: int = 0) -> str:
    """Severities [kinds] to a caption such as "a heavily blurred and slightly noisy image"."""
    parts = [f"{level_word(s)} {kind.phrase}" for kind, s in zip(KINDS, severities) if s > 0]
    return FORMS[form][0].format(" and ".join(parts) if parts else "clean")


def quality_caption(word: str, form: int = 0) -> str:
    """The caption of a quality word."""
    return FORMS[form][1].format(word)


def quality_targets(mos: np.ndarray) -> np.ndarray:
    """Pseudo-MOS [N] in 1..5 to soft targets [N, 6]: a bell of half a category round the true place."""
    place = (mos - 1) / 4 * (len(CATEGORIES) - 1)
    weights = np.exp(-0.5 * ((np.arange(len(CATEGORIES)) - place[:, None]) / 0.5) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
