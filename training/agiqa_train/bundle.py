"""Writes a checkpoint bundle: `weights.safetensors` and `manifest.json` in one folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from .digest import CHECKPOINT_FORMAT, checkpoint_digest
from .head import score_numpy
from .meaning import Meaning
from .prompts import CATEGORIES


@dataclass(frozen=True)
class Checkpoint:
    """Learned prompts and a head, and what they were learned on."""

    name: str
    context: np.ndarray  # float32 [16, W], or [6, 16, W] when class-specific
    head: dict[str, np.ndarray]
    encoder_name: str
    encoder_digest: str
    class_token_position: str = "end"
    categories: tuple[str, ...] = CATEGORIES
    training: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)
    meaning: Meaning = field(default_factory=Meaning)
    reference: np.ndarray | None = None  # float32 [K, D], unit vectors; goes with meaning.threshold
    licence: str = "Apache-2.0"

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """All tensors under their names in the file."""
        reference = {} if self.reference is None else {"reference": self.reference.astype(np.float32)}
        return {"context": self.context.astype(np.float32), **self.head, **reference}

    def faults(self) -> list[str]:
        """What a reader would refuse in the meaning."""
        found = self.meaning.faults()
        if (self.reference is None) != (self.meaning.threshold is None):
            found.append("reference: tensor and threshold go together")
        if self.reference is not None and np.abs(np.linalg.norm(self.reference, axis=1) - 1).max() > 1e-3:
            found.append("reference: rows are not unit vectors")
        return found

    @property
    def class_specific(self) -> bool:
        """Whether every category has context vectors of its own."""
        return self.context.ndim == 3

    @property
    def digest(self) -> str:
        """Content digest, see `digest.checkpoint_digest`."""
        return checkpoint_digest(
            self.encoder_digest,
            self.class_token_position,
            self.context.shape[-2],
            self.class_specific,
            self.categories,
            self.meaning,
            self.tensors,
        )


def golden_scores(checkpoint: Checkpoint, images: np.ndarray, texts: np.ndarray) -> list[dict]:
    """Raw scores of a few image embeddings [K, D], each of one view, in float32 NumPy: the server checks itself."""
    scores = score_numpy(checkpoint.head, images.astype(np.float32), texts.astype(np.float32))
    return [
        {"image_embedding": [float(v) for v in image.astype(np.float32)], "score": float(score)}
        for image, score in zip(images, scores)
    ]


def write_bundle(folder: Path, checkpoint: Checkpoint, images: np.ndarray, texts: np.ndarray) -> str:
    """Writes the folder; returns the checkpoint's digest. `images` [K, D] become the golden cases.

    Raises ValueError where the server would refuse what the manifest says of the scores.
    """
    if faults := checkpoint.faults():
        raise ValueError(f"checkpoint {checkpoint.name}: {'; '.join(faults)}")
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(v) for k, v in checkpoint.tensors.items()}, folder / "weights.safetensors")
    document = {
        "format": CHECKPOINT_FORMAT,
        "name": checkpoint.name,
        "digest": checkpoint.digest,
        "categories": list(checkpoint.categories),
        "class_token_position": checkpoint.class_token_position,
        "context_length": checkpoint.context.shape[-2],
        "class_specific_context": checkpoint.class_specific,
        **checkpoint.meaning.document(),
        "encoder": {"name": checkpoint.encoder_name, "digest": checkpoint.encoder_digest},
        "training": checkpoint.training,
        "metrics": checkpoint.metrics,
        "licence": checkpoint.licence,
        "golden": golden_scores(checkpoint, images, texts),
    }
    (folder / "manifest.json").write_text(json.dumps(document, indent=2) + "\n")
    return checkpoint.digest
