"""Content digests, computed alike here and by the server."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np

from .meaning import Meaning

ENCODER_FORMAT = "agiqa-encoder/1"
CHECKPOINT_FORMAT = "agiqa-checkpoint/2"


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file, read in pieces: the weights of a ViT-L/14 are 1.7 GB."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hasher.update(piece)
    return hasher.hexdigest()


def encoder_digest(image_onnx: Path, text_onnx: Path) -> str:
    """`sha256:<hex>` over the format line and the hex digests of both graphs, each ended by a newline."""
    return encoder_digest_of(file_sha256(image_onnx), file_sha256(text_onnx))


def encoder_digest_of(image: str, text: str) -> str:
    """The same, from the graphs' own hex digests."""
    lines = f"{ENCODER_FORMAT}\n{image}\n{text}\n"
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def checkpoint_digest(
    encoder: str,
    class_token_position: str,
    context_length: int,
    class_specific: bool,
    categories: tuple[str, ...],
    meaning: Meaning,
    tensors: dict[str, np.ndarray],
) -> str:
    """`sha256:<hex>` over length-prefixed fields (uint64 little-endian length, then the bytes).

    The fields: format, encoder digest, class token position, context length, "1" or "0" for
    class-specific, number of categories, each category, what `Meaning.fields` gives (task, views, scale,
    interval, reference, prompt), then for each tensor in order of its name: name, "F32", shape joined
    by commas, raw little-endian bytes.
    """
    fields: list[bytes] = [
        CHECKPOINT_FORMAT.encode(),
        encoder.encode(),
        class_token_position.encode(),
        str(context_length).encode(),
        b"1" if class_specific else b"0",
        str(len(categories)).encode(),
        *(category.encode() for category in categories),
        *meaning.fields(),
    ]
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name], dtype="<f4")
        shape = ",".join(str(size) for size in array.shape)
        fields += [name.encode(), b"F32", shape.encode(), array.tobytes()]
    hasher = hashlib.sha256()
    for field in fields:
        hasher.update(struct.pack("<Q", len(field)))
        hasher.update(field)
    return "sha256:" + hasher.hexdigest()
