"""Digests with a worked example, and what a bundle holds."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from agiqa_train.bundle import Checkpoint, write_bundle
from agiqa_train.digest import checkpoint_digest
from agiqa_train.golden_bundle import golden_checkpoint, recipe_checkpoint
from agiqa_train.head import Head, score_numpy
from agiqa_train.meaning import Evaluation, Interval, Meaning, ScoreScale
from agiqa_train.preprocess import PILLOW12, PILLOW13
from agiqa_train.views import View, parse_views

# One tensor "context" [1, 2] = [1.0, -2.0], one category "good", and a short encoder digest. The
# server's tests hold the same example.
EXAMPLE = "sha256:1b90529fce3d1f4d6d80ae6038b00acd275a3c426956aa651e9c25b0151feb9c"
MEANING = Meaning(
    task="quality",
    views=(View.parse("224"), View.parse("448/r0c1")),
    score=ScoreScale(1, 5, "MOS", clamp=True),
    interval=Interval(0.9, (2.5,), (0.5, 0.25)),
    threshold=0.5,
)
GOLDEN = Path(__file__).resolve().parents[2] / "checkpoint" / "testdata" / "meaning"


def test_digest_worked_example() -> None:
    tensors = {"context": np.array([[1.0, -2.0]], np.float32)}
    got = checkpoint_digest("sha256:00", "end", 1, False, ("good",), MEANING, tensors)
    fields = [b"agiqa-checkpoint/2", b"sha256:00", b"end", b"1", b"0", b"1", b"good"]
    fields += [b"quality", b"2", b"224", b"448/r0c1", b"1"]
    fields += [bytes.fromhex("000000000000f03f"), bytes.fromhex("0000000000001440")]  # 1 and 5
    fields += [b"1", struct.pack("<d", 0.9), b"1", struct.pack("<d", 2.5), struct.pack("<d", 0.5), struct.pack("<d", 0.25)]
    fields += [b"1", struct.pack("<d", 0.5), b"0"]
    fields += [b"context", b"F32", b"1,2", bytes.fromhex("0000803f000000c0")]
    message = b"".join(struct.pack("<Q", len(field)) + field for field in fields)
    assert got == "sha256:" + hashlib.sha256(message).hexdigest()
    assert got == EXAMPLE


def test_every_field_counts() -> None:
    tensors = {"context": np.ones((1, 2), np.float32)}
    base = ("sha256:00", "end", 1, False, ("good",), MEANING, tensors)
    others = [
        ("sha256:01", *base[1:]),
        (base[0], "front", *base[2:]),
        (*base[:2], 2, *base[3:]),
        (*base[:3], True, *base[4:]),
        (*base[:4], ("bad",), *base[5:]),
        (*base[:6], {"context": np.ones((2, 1), np.float32)}),
        (*base[:6], {"other": tensors["context"]}),
    ]
    meanings = [
        {"task": "authenticity"},
        {"views": MEANING.views[::-1]},
        {"views": MEANING.views[:1]},
        {"views": tuple(view.by(PILLOW13) for view in MEANING.views)},
        {"score": replace(MEANING.score, clamp=False)},
        {"score": replace(MEANING.score, min=0)},
        {"score": replace(MEANING.score, max=6)},
        {"interval": None},
        {"interval": Interval(0.8, (2.5,), (0.5, 0.25))},
        {"interval": Interval(0.9, (2.25,), (0.5, 0.25))},
        {"interval": Interval(0.9, (2.5,), (0.5, 0.75))},
        {"threshold": None},
        {"threshold": 0.25},
        {"prompt": True},
    ]
    others += [(*base[:5], replace(MEANING, **change), tensors) for change in meanings]
    assert len({checkpoint_digest(*fields) for fields in [base, *others]}) == 1 + len(others)
    # What is for people alone does not.
    said = replace(
        MEANING, evaluation=(Evaluation("d", "quality", 9, 0.5, 0.4, 0.6),), score=replace(MEANING.score, unit="points")
    )
    assert checkpoint_digest(*base[:5], said, tensors) == checkpoint_digest(*base)


def test_golden_bundle_is_current(tmp_path: Path) -> None:
    """The one that the server's tests read: python -m agiqa_train.golden_bundle checkpoint/testdata/meaning."""
    digest = write_bundle(tmp_path, *golden_checkpoint())
    manifest = json.loads((GOLDEN / "manifest.json").read_text())
    assert digest == manifest["digest"]
    written = json.loads((tmp_path / "manifest.json").read_text())
    ours, theirs = written.pop("golden"), manifest.pop("golden")
    assert written == manifest
    assert len(ours) == len(theirs)
    for case, golden in zip(ours, theirs):  # the last bits of sums are the processor's and the library's
        assert case.keys() == golden.keys()
        for key in case:
            np.testing.assert_allclose(case[key], golden[key], rtol=0, atol=1e-5)
    assert (tmp_path / "weights.safetensors").read_bytes() == (GOLDEN / "weights.safetensors").read_bytes()


def test_meaning_survives_a_manifest() -> None:
    meaning = golden_checkpoint()[0].meaning
    assert Meaning.of_manifest(json.loads(json.dumps(meaning.document()))) == meaning
    plain = Meaning.of_manifest(json.loads(json.dumps(Meaning().document())))
    assert plain == Meaning() and not {"interval", "reference", "prompt"} & set(Meaning().document())


def test_a_recipe_survives_a_manifest(tmp_path: Path) -> None:
    checkpoint, images, texts = recipe_checkpoint()
    write_bundle(tmp_path, checkpoint, images, texts)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["recipe"] == PILLOW13 and manifest["views"] == ["224", "448/r0c1"]
    assert Meaning.of_manifest(manifest) == checkpoint.meaning
    assert manifest["digest"] == json.loads((GOLDEN.parent / "recipe" / "manifest.json").read_text())["digest"]
    assert "recipe" not in Meaning(views=(View(recipe=PILLOW12),)).document()


def test_a_manifest_of_format_1_says_its_scale_alone() -> None:
    manifest = {"format": "agiqa-checkpoint/1", "score": {"min": 0, "max": 100, "unit": "MOS"}}
    assert Meaning.of_manifest(manifest) == Meaning(views=(View(recipe=PILLOW12),), score=ScoreScale(0, 100, "MOS"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "Quality"}, "task 'Quality' does not match"),
        ({"views": ()}, "want 1 to 16 distinct views"),
        ({"views": parse_views("224,224")}, "distinct"),
        ({"views": (View(recipe=PILLOW12), View(448, recipe=PILLOW13))}, "one recipe"),
        ({"views": (View(recipe="pillow14-bicubic-224"),)}, "one recipe of pillow12-bicubic-224 and pillow13-bicubic-224"),
        ({"score": ScoreScale(5, 5)}, "min 5 is not below max 5"),
        ({"interval": Interval(1.0, (), (0.5,))}, "coverage 1 is not between 0 and 1"),
        ({"interval": Interval(0.9, (2.0, 1.0), (0, 0, 0))}, "edges do not ascend"),
        ({"interval": Interval(0.9, (2.0,), (0.5,))}, "1 half widths for 1 edges"),
        ({"interval": Interval(0.9, (), (-0.5,))}, "negative"),
        ({"threshold": 0.0}, "threshold 0 must be above 0 and at most 2"),
        ({"threshold": None}, "tensor and threshold go together"),
    ],
)
def test_what_the_server_refuses_is_not_written(tmp_path: Path, change: dict, message: str) -> None:
    checkpoint, images, texts = golden_checkpoint()
    broken = replace(checkpoint, meaning=replace(checkpoint.meaning, **change))
    with pytest.raises(ValueError, match=re.escape(message)):
        write_bundle(tmp_path, broken, images, texts)
    assert not list(tmp_path.iterdir())


def test_reference_rows_are_unit_vectors(tmp_path: Path) -> None:
    checkpoint, images, texts = golden_checkpoint()
    with pytest.raises(ValueError, match="rows are not unit vectors"):
        write_bundle(tmp_path, replace(checkpoint, reference=2 * checkpoint.reference), images, texts)


def test_interval_bins_and_scale() -> None:
    interval = Interval(0.9, (2.0, 3.0), (0.1, 0.2, 0.3))
    assert interval.half_width(np.array([1.9, 2.0, 2.9, 3.0, 9.0])).tolist() == [0.1, 0.2, 0.2, 0.3, 0.3]
    raw = np.array([0.5, 3.0, 7.0], np.float32)
    assert ScoreScale(clamp=True).cut(raw).tolist() == [1, 3, 5]
    assert ScoreScale().cut(raw) is raw


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
    assert manifest["format"] == "agiqa-checkpoint/2" and manifest["task"] == "quality" and manifest["views"] == ["224"]
    assert manifest["score"] == {"min": 1, "max": 5, "unit": "MOS", "clamp": False} and manifest["evaluation"] == []
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
