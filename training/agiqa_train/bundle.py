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


def golden_scores(
    checkpoint: Checkpoint, images: np.ndarray, texts: np.ndarray, prompts: np.ndarray | None = None
) -> list[dict]:
    """Raw scores of a few image embeddings [K, D], each of one view, in float32 NumPy: the server checks itself.

    `prompts` [K, D] are those of the images, for a checkpoint that reads them.
    """
    columns = {"image_embedding": images.astype(np.float32)}
    if prompts is not None:
        columns["prompt_embedding"] = prompts.astype(np.float32)
    scores = score_numpy(
        checkpoint.head, columns["image_embedding"], texts.astype(np.float32), columns.get("prompt_embedding")
    )
    return [
        {**{name: [float(v) for v in rows[i]] for name, rows in columns.items()}, "score": float(score)}
        for i, score in enumerate(scores)
    ]


def write_bundle(
    folder: Path, checkpoint: Checkpoint, images: np.ndarray, texts: np.ndarray, prompts: np.ndarray | None = None
) -> str:
    """Writes the folder; returns the checkpoint's digest. `images` [K, D] become the golden cases, with
    the `prompts` [K, D] that they are scored with where the checkpoint reads prompts.

    Raises ValueError where the server would refuse what the manifest says of the scores.
    """
    if faults := checkpoint.faults():
        raise ValueError(f"checkpoint {checkpoint.name}: {'; '.join(faults)}")
    if checkpoint.meaning.prompt != (prompts is not None):
        raise ValueError(f"checkpoint {checkpoint.name}: golden cases have prompts where the checkpoint reads them")
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
        "golden": golden_scores(checkpoint, images, texts, prompts),
    }
    (folder / "manifest.json").write_text(json.dumps(document, indent=2) + "\n")
    return checkpoint.digest
