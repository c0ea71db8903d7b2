"""Digests with a worked example, and what a bundle holds."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from agiqa_train.bundle import Checkpoint, write_bundle
from agiqa_train.digest import checkpoint_digest
from agiqa_train.head import Head, score_numpy

# One tensor "context" [1, 2] = [1.0, -2.0], one category "good", and a short encoder digest. The
# server's tests hold the same example.
EXAMPLE = "sha256:4a583dd4e5f8b8448006ae73e8490f18eb0a610c7c6e8c84a2abc1e34cccf290"


def test_digest_worked_example() -> None:
    got = checkpoint_digest(
        "sha256:00", "end", 1, False, ("good",), {"context": np.array([[1.0, -2.0]], np.float32)}
    )
    fields = [b"agiqa-checkpoint/1", b"sha256:00", b"end", b"1", b"0", b"1", b"good"]
    fields += [b"context", b"F32", b"1,2", bytes.fromhex("0000803f000000c0")]
    message = b"".join(struct.pack("<Q", len(field)) + field for field in fields)
    assert got == "sha256:" + hashlib.sha256(message).hexdigest()
    assert got == EXAMPLE


def test_every_field_counts() -> None:
    tensors = {"context": np.ones((1, 2), np.float32)}
    base = ("sha256:00", "end", 1, False, ("good",), tensors)
    others = [
        ("sha256:01", *base[1:]),
        (base[0], "front", *base[2:]),
        (*base[:2], 2, *base[3:]),
        (*base[:3], True, *base[4:]),
        (*base[:4], ("bad",), tensors),
        (*base[:5], {"context": np.ones((2, 1), np.float32)}),
        (*base[:5], {"other": tensors["context"]}),
    ]
    assert len({checkpoint_digest(*fields) for fields in [base, *others]}) == 1 + len(others)


def test_bundle(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    head = Head(4, 8)
    context = rng.normal(size=(6, 16, 5)).astype(np.float32)
    images, texts = rng.normal(size=(8, 4)).astype(np.float32), rng.normal(size=(6, 4)).astype(np.float32)
    checkpoint = Checkpoint("demo", context, head.tensors(), "tiny", "sha256:00")
    digest = write_bundle(tmp_path, checkpoint, images, texts)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    tensors = load_file(tmp_path / "weights.safetensors")
    assert manifest["digest"] == digest and manifest["class_specific_context"] is True
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes == {
        "context": (6, 16, 5),
        "head.0.weight": (8, 28),
        "head.0.bias": (8,),
        "head.1.weight": (1, 8),
        "head.1.bias": (1,),
    }
    for case in manifest["golden"]:
        image = np.array([case["image_embedding"]], np.float32)
        np.testing.assert_allclose(score_numpy(tensors, image, texts)[0], case["score"], atol=1e-6)


def test_numpy_head_agrees_with_torch() -> None:
    torch.manual_seed(0)
    head = Head(4, 8).eval()
    image, texts = torch.randn(5, 4), torch.randn(6, 4)
    with torch.no_grad():
        want = head(image, texts).numpy()
    np.testing.assert_allclose(score_numpy(head.tensors(), image.numpy(), texts.numpy()), want, atol=1e-5)
