"""Which images are trained on and which are held out.

By image: scikit-learn's `train_test_split(test_size, random_state)`, which the paper uses; two
images of one prompt can then stand on both sides. By prompt: scikit-learn's `GroupShuffleSplit`,
which keeps every prompt on one side. Both are NumPy's legacy generator and one permutation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..agreement.report import FEWEST
from .datasets import DataError, Dataset

BY = ("image", "prompt")


@dataclass(frozen=True)
class SplitConfig:
    """The defaults are the paper's."""

    by: str = "image"
    test: float = 0.2
    validation: float = 0.0  # share of what is left for training; 0: none, as in the paper
    seed: int = 42


@dataclass(frozen=True)
class Split:
    """Indices into the samples, in the order drawn."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_dataset(dataset: Dataset, config: SplitConfig) -> Split:
    """The split of a data set; raises DataError when nothing is left to train on, or too little to measure."""
    if config.by not in BY:
        raise DataError(f"split by {config.by!r}: want {' or '.join(BY)}")
    if not (0 < config.test < 1 and 0 <= config.validation < 1):
        raise DataError(f"split: test {config.test:g} is not in (0, 1), or validation {config.validation:g} not in [0, 1)")
    groups = None
    if config.by == "prompt":
        groups = np.array([sample.group or "" for sample in dataset.samples])
        if "" in groups:
            raise DataError(f"{dataset.name}: a split by prompt needs the prompt of every image")
    everything = np.arange(len(dataset.samples))
    train, test = _divide(everything, groups, config.test, config.seed)
    validation = train[:0]
    if config.validation > 0:
        train, validation = _divide(train, groups, config.validation, config.seed)
    if not len(train) or len(test) < FEWEST:
        raise DataError(f"{dataset.name}: {len(dataset.samples)} images are too few to split by {config.by}")
    return Split(train, validation, test)


def _divide(chosen: np.ndarray, groups: np.ndarray | None, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What stays and what is held out of `chosen`."""
    if groups is None:
        stay, out = shuffle_split(len(chosen), share, seed)
        return chosen[stay], chosen[out]
    named, of = np.unique(groups[chosen], return_inverse=True)
    stay, out = shuffle_split(len(named), share, seed)
    return chosen[np.isin(of, stay)], chosen[np.isin(of, out)]


def shuffle_split(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """0..n-1 divided: the first ceil(share n) of a permutation are held out, the rest stay."""
    order = np.random.RandomState(seed).permutation(n)
    out = math.ceil(share * n)
    return order[out:], order[:out]
