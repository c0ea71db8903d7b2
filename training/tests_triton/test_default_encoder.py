"""The default encoder as `agiqa models` writes it: against another implementation of CLIP, and against itself.

Needs `bin/agiqa` and the downloaded weights: make models.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, load_module

GRAPHS = {"int8": "model.int8.onnx", "fp32": "model.onnx"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("default") / "models"
    subprocess.run(["bin/agiqa", "models", "--gpu", "--out", str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def embed(repository):
    """Embeddings by precision, from the session that serves."""
    program = load_module("clip_image_encoder")  # the same file in every repository
    folder = repository / "clip_image_encoder" / "1"
    sessions = {precision: program.open_session(folder / graph, 2) for precision, graph in GRAPHS.items()}
    return lambda precision, pixels: sessions[precision].run(["image_embedding"], {"pixels": pixels})[0]


def drawn(n: int) -> np.ndarray:
    """Pictures of waves, squares and noise, each in its own colours."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:224, 0:224] / 224.0
    pictures = []
    for i in range(n):
        a, b, phase = rng.uniform(1, 12, 3)
        wave = np.sin(a * x * (1 + i % 3) + b * y + phase)
        squares = ((x * a).astype(int) + (y * b).astype(int)) % 2
        kinds = (wave, 2.0 * squares - 1, wave * (2.0 * squares - 1), np.hypot(x - 0.5, y - 0.5) * 4 - 1)
        colours = rng.uniform(0.2, 1, (2, 3))
        level = (kinds[i % 4][..., None] + 1) / 2
        picture = level * colours[0] + (1 - level) * colours[1] + rng.normal(0, 0.03 * (i % 3), (224, 224, 3))
        pictures.append((255 * np.clip(picture, 0, 1)).astype(np.uint8))
    return np.stack(pictures)


@pytest.fixture(scope="module")
def golden(tmp_path_factory) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and embeddings; see encoder/testdata/make_golden.py."""
    cases = json.loads((ROOT / "encoder" / "testdata" / "golden.json").read_text())
    pixels = []
    for picture in cases:
        out = tmp_path_factory.mktemp("pixels") / "pixels.npy"
        subprocess.run(["bin/agiqa", "preprocess", picture, "--out", str(out)], cwd=ROOT, check=True)
        pixels.append(np.load(out).reshape(224, 224, 3))
    return np.stack(pixels), np.array(list(cases.values()))


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.99999), ("int8", 0.98)])
def test_embeddings_are_those_of_clip(embed, golden, precision, least) -> None:
    pixels, want = golden
    cosines = (embed(precision, pixels) * want).sum(axis=1)
    assert cosines.min() >= least, cosines


def test_int8_stays_close_to_fp32(embed) -> None:
    pixels = drawn(16)
    cosines = (embed("int8", pixels) * embed("fp32", pixels)).sum(axis=1)
    assert cosines.mean() >= 0.99 and cosines.min() >= 0.98, cosines


@pytest.mark.parametrize("precision", GRAPHS)
def test_a_picture_does_not_depend_on_its_neighbours(embed, precision) -> None:
    pixels = drawn(32)
    together = embed(precision, pixels)
    for i in (0, 13, 31):
        np.testing.assert_allclose(embed(precision, pixels[i : i + 1])[0], together[i], rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
