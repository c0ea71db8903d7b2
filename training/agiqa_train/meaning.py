"""What a checkpoint's number means: its task, scale, views, interval and reference, as format 2 of a bundle says it.

The meaning is part of the checkpoint's digest: two checkpoints with the same tensors and another
task or other views are two checkpoints.
"""

from __future__ import annotations

import re
import struct
from dataclasses import asdict, dataclass, field

import numpy as np

from .preprocess import PILLOW12, RECIPES
from .views import DEFAULT_VIEWS, View

TASK = re.compile(r"[a-z][a-z0-9_-]{0,31}")
MOST_VIEWS = 16


@dataclass(frozen=True)
class ScoreScale:
    """The scale of the opinion scores that a head was trained on. The defaults are the demo's."""

    min: float = 1
    max: float = 5
    unit: str = "MOS"
    clamp: bool = False  # scores beyond the scale are cut to it

    def cut(self, raw: np.ndarray) -> np.ndarray:
        """Raw scores as they are shown."""
        return np.clip(raw, self.min, self.max).astype(raw.dtype) if self.clamp else raw


@dataclass(frozen=True)
class Interval:
    """A split-conformal prediction interval: score -/+ the half width of the raw score's bin, cut to the scale."""

    coverage: float
    edges: tuple[float, ...]  # ascending; bin i holds the scores s with edges[i-1] <= s < edges[i]
    half_widths: tuple[float, ...]  # one more than edges

    def half_width(self, raw: np.ndarray) -> np.ndarray:
        """Raw scores [N] to half widths [N]."""
        return np.asarray(self.half_widths)[np.searchsorted(np.asarray(self.edges), raw, side="right")]

    def faults(self) -> list[str]:
        """What a reader would refuse."""
        found = []
        if not 0 < self.coverage < 1:
            found.append(f"interval: coverage {self.coverage:g} is not between 0 and 1")
        if list(self.edges) != sorted(set(self.edges)) or not np.isfinite(self.edges).all():
            found.append("interval: edges do not ascend")
        if len(self.half_widths) != len(self.edges) + 1:
            found.append(f"interval: {len(self.half_widths)} half widths for {len(self.edges)} edges")
        if not all(np.isfinite(w) and w >= 0 for w in self.half_widths):
            found.append("interval: a half width is negative or not finite")
        return found


@dataclass(frozen=True)
class Evaluation:
    """One result on a data set with human ratings, for people to read."""

    dataset: str
    task: str
    images: int
    srcc: float
    low: float
    high: float


@dataclass(frozen=True)
class Meaning:
    """Everything about a checkpoint's score besides the tensors it is computed with."""

    task: str = "quality"
    views: tuple[View, ...] = DEFAULT_VIEWS  # all by one recipe
    score: ScoreScale = field(default_factory=ScoreScale)
    interval: Interval | None = None
    threshold: float | None = None  # of the tensor `reference`; None: the checkpoint has none
    evaluation: tuple[Evaluation, ...] = ()  # not part of the digest
    prompt: bool = False  # the head takes the embedding of the picture's prompt

    @property
    def recipe(self) -> str:
        """How pictures are resized for the checkpoint."""
        return self.views[0].recipe if self.views else PILLOW12

    def faults(self) -> list[str]:
        """What a reader would refuse."""
        found = []
        if not TASK.fullmatch(self.task):
            found.append(f"task {self.task!r} does not match {TASK.pattern}")
        if not 1 <= len(self.views) <= MOST_VIEWS or len(set(self.views)) != len(self.views):
            found.append(f"views: want 1 to {MOST_VIEWS} distinct views")
        if {view.recipe for view in self.views} - {self.recipe} or self.recipe not in RECIPES:
            found.append(f"views: want one recipe of {' and '.join(RECIPES)}")
        if self.score.min >= self.score.max:
            found.append(f"score: min {self.score.min:g} is not below max {self.score.max:g}")
        if self.threshold is not None and not 0 < self.threshold <= 2:
            found.append(f"reference: threshold {self.threshold:g} must be above 0 and at most 2")
        return found + ([] if self.interval is None else self.interval.faults())

    def fields(self) -> list[bytes]:
        """The fields of the checkpoint digest between the categories and the tensors."""
        fields = [self.task.encode(), str(len(self.views)).encode(), *(view.square.encode() for view in self.views)]
        fields += [_flag(self.score.clamp), _number(self.score.min), _number(self.score.max)]
        fields.append(_flag(self.interval is not None))
        if self.interval is not None:
            fields += [_number(self.interval.coverage), str(len(self.interval.edges)).encode()]
            fields += [_number(value) for value in (*self.interval.edges, *self.interval.half_widths)]
        fields.append(_flag(self.threshold is not None))
        if self.threshold is not None:
            fields.append(_number(self.threshold))
        return [*fields, _flag(self.prompt), *([] if self.recipe == PILLOW12 else [self.recipe.encode()])]

    def document(self) -> dict:
        """The manifest's keys for all of this."""
        document: dict = {
            "task": self.task,
            "views": [view.square for view in self.views],
            "score": asdict(self.score),
            "evaluation": [asdict(entry) for entry in self.evaluation],
        }
        if self.interval is not None:
            document["interval"] = {
                "coverage": self.interval.coverage,
                "edges": list(self.interval.edges),
                "half_widths": list(self.interval.half_widths),
            }
        if self.threshold is not None:
            document["reference"] = {"threshold": self.threshold}
        if self.prompt:
            document["prompt"] = True
        if self.recipe != PILLOW12:
            document["recipe"] = self.recipe
        return document

    @staticmethod
    def of_manifest(manifest: dict) -> Meaning:
        """Inverse of `document`. A manifest of format 1 says only its scale: quality, one view, not clamped."""
        interval, recipe = manifest.get("interval"), manifest.get("recipe", PILLOW12)
        return Meaning(
            task=manifest.get("task", "quality"),
            views=tuple(View.parse(text).by(recipe) for text in manifest.get("views", ["224"])),
            score=ScoreScale(**manifest["score"]),
            interval=None
            if interval is None
            else Interval(interval["coverage"], tuple(interval["edges"]), tuple(interval["half_widths"])),
            threshold=manifest.get("reference", {}).get("threshold"),
            evaluation=tuple(Evaluation(**entry) for entry in manifest.get("evaluation", [])),
            prompt=manifest.get("prompt", False),
        )


def _flag(value: bool) -> bytes:
    return b"1" if value else b"0"


def _number(value: float) -> bytes:
    return struct.pack("<d", value)
