"""Measures a checkpoint on pictures it never saw, through the exported graphs.

Distortions are applied to the picture at its full size, then the exact test-time preprocessing
runs: what is measured is what a caller of the server would see.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from .data import Source
from .distort import banding, low_contrast, over_sharpen, shot_noise, warp
from .embeddings import EmbeddingCache, Job
from .exported import Scorer

DRAWN = 20
DRAWN_SIZE = 768
DRAWN_SEED = 777_000  # far from the training groups, whose seeds are [seed, index]
PROTOCOL = "distorted at full size, then the exact test-time preprocessing, through the exported graphs"

Rng = np.random.Generator


def blur_px(image: Image.Image, radius: float) -> Image.Image:
    """Gaussian blur, radius in pixels of the full picture."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def noise_sigma(image: Image.Image, sigma: float, rng: Rng) -> Image.Image:
    """Gaussian noise, standard deviation of 255."""
    values = np.asarray(image, dtype=np.float32)
    noisy = values + sigma * rng.standard_normal(values.shape, dtype=np.float32)
    return Image.fromarray(np.clip(noisy + 0.5, 0, 255).astype(np.uint8))


def jpeg_quality(image: Image.Image, quality: int) -> Image.Image:
    """Through libjpeg at a quality, 4:2:0."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def pixelate_px(image: Image.Image, block: int) -> Image.Image:
    """Square blocks of `block` pixels of the full picture."""
    small = (max(1, image.width // block), max(1, image.height // block))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


# name -> (in words, what it does). "strong" rows of the first four carry the acceptance.
CASES: dict[str, tuple[str, Callable[[Image.Image, Rng], Image.Image]]] = {
    "blur/medium": ("radius 3 px", lambda image, rng: blur_px(image, 3)),
    "blur/strong": ("radius 8 px", lambda image, rng: blur_px(image, 8)),
    "noise/medium": ("sigma 30", lambda image, rng: noise_sigma(image, 30, rng)),
    "noise/strong": ("sigma 60", lambda image, rng: noise_sigma(image, 60, rng)),
    "pixelate/medium": ("blocks of 6 px", lambda image, rng: pixelate_px(image, 6)),
    "pixelate/strong": ("blocks of 12 px", lambda image, rng: pixelate_px(image, 12)),
    "jpeg/medium": ("quality 15", lambda image, rng: jpeg_quality(image, 15)),
    "jpeg/strong": ("quality 5", lambda image, rng: jpeg_quality(image, 5)),
    "shot/strong": ("severity 0.8", lambda image, rng: shot_noise(image, 0.8, rng)),
    "contrast/strong": ("severity 0.8", lambda image, rng: low_contrast(image, 0.8, rng)),
    "banding/strong": ("severity 0.8", lambda image, rng: banding(image, 0.8, rng)),
    "sharpen/strong": ("severity 0.8", lambda image, rng: over_sharpen(image, 0.8, rng)),
    "warp/strong": ("severity 0.8", lambda image, rng: warp(image, 0.8, rng)),
}


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties share their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[inverse]


def srcc(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def pair_share(clean: np.ndarray, distorted: np.ndarray) -> float:
    """Share of all (clean, distorted) pairs, across pictures, in which the clean one scores higher."""
    return float((clean[:, None] > distorted[None, :]).mean())


def drawn_sources() -> list[Source]:
    """The drawn pictures that checkpoints are measured on."""
    return [Source.drawing(DRAWN_SIZE, DRAWN_SEED, i) for i in range(DRAWN)]


def case_pictures(image: Image.Image, seed: int, index: int) -> list[Image.Image]:
    """Picture `index` as it is, then after each of CASES."""
    made = [apply(image, np.random.default_rng([seed, index, i])) for i, (_, apply) in enumerate(CASES.values())]
    return [image, *made]


def embed_cases(cache: EmbeddingCache, sources: list[Source], seed: int) -> np.ndarray:
    """Embeddings [N, 1 + cases, V, D] of pictures, clean first."""
    words = "; ".join(f"{name} {words}" for name, (words, _) in CASES.items())
    jobs = [
        Job(f"cases {seed} {index} of {source.identity}: {words}", partial(_open_cases, source, seed, index))
        for index, source in enumerate(sources)
    ]
    return cache.get(jobs, "embedding cases")


def _open_cases(source: Source, seed: int, index: int) -> list[Image.Image]:
    return case_pictures(source.open(), seed, index)


def measure_cases(scorer: Scorer, embeddings: np.ndarray) -> dict:
    """Embeddings [N, 1 + cases, V, D] of the checkpoint's views: clean against each case.

    Over the same picture, over all pairs, and in means; of raw scores, since cut ones are often equal.
    """
    scores = scorer.judge_views(embeddings.reshape(-1, *embeddings.shape[2:])).reshape(embeddings.shape[:2])
    clean = scores[:, 0]
    result: dict = {"images": len(clean), "clean_mean": _r(clean.mean()), "clean_min": _r(clean.min()), "cases": {}}
    for (name, (words, _)), bad in zip(CASES.items(), scores.T[1:]):
        result["cases"][name] = {
            "applied": words,
            "same_image": _r((clean > bad).mean()),
            "all_pairs": _r(pair_share(clean, bad)),
            "mean": _r(bad.mean()),
            "drop": _r(clean.mean() - bad.mean()),
        }
    return result


def correlation(scores: np.ndarray, zeroed: np.ndarray, target: np.ndarray) -> dict:
    """Raw scores [N], and those without text features, against the pseudo-MOS."""
    return {
        "images": len(scores),
        "srcc": _r(srcc(scores, target)),
        "plcc": _r(np.corrcoef(scores, target)[0, 1]),
        "rmse": _r(np.sqrt(np.mean((scores - target) ** 2))),
        "text_features_zeroed": {
            "srcc": _r(srcc(zeroed, target)),
            "srcc_with_full": _r(srcc(zeroed, scores)),
            "rmse": _r(np.sqrt(np.mean((zeroed - target) ** 2))),
            "largest_score_change": _r(np.abs(zeroed - scores).max()),
        },
    }


def difference(scores: np.ndarray, other: np.ndarray) -> dict:
    """How far two checkpoints are apart on the same pictures."""
    gap = np.abs(scores - other)
    return {
        "images": len(scores),
        "srcc_between": _r(srcc(scores, other)),
        "mean_absolute_difference": _r(gap.mean()),
        "largest_difference": _r(gap.max()),
    }


@dataclass(frozen=True)
class Aims:
    """What a checkpoint is held to on strong damage, for both kinds of picture."""

    pairs: dict[str, float]  # kind to the least share of all pairs in which the clean picture scores higher
    drop: float = 1.2  # clean minus distorted, mean over blur, noise, pixelation and JPEG


def measure_pictures(scorer: Scorer, cache: EmbeddingCache, files: list[Path], seed: int, aims: Aims) -> dict:
    """Held-out AI-generated and drawn pictures, clean against each case, by the checkpoint's views."""
    sources = {
        "ai_images": [Source.file(file) for file in files],
        "drawn_images": drawn_sources(),
    }
    result: dict = {"protocol": PROTOCOL}
    for name, pictures in sources.items():
        embeddings = embed_cases(cache, pictures, seed)
        result[name] = measure_cases(scorer, cache.select(embeddings, scorer.meaning.views))
    result["acceptance"] = acceptance(result, aims)
    return result


def acceptance(result: dict, aims: Aims) -> dict:
    """The aims, each with what was measured."""
    rows = {}
    for source in ("ai_images", "drawn_images"):
        cases = result[source]["cases"]
        for kind, least in aims.pairs.items():
            rows[f"{kind}, {source}"] = _row(least, cases[f"{kind}/strong"]["all_pairs"])
        drops = [cases[f"{kind}/strong"]["drop"] for kind in ("blur", "noise", "pixelate", "jpeg")]
        rows[f"clean minus strong, {source}"] = _row(aims.drop, _r(np.mean(drops)))
    return rows


def _row(aim: float, got: float) -> dict:
    return {"aim": aim, "got": got, "met": got >= aim}


def _r(value: float) -> float:
    """Four decimals are more than the sample carries."""
    return round(float(value), 4)
