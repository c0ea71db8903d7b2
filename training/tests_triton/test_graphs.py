"""The committed graphs: norms, shapes, batch invariance, the end-of-text feature, the mask."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnxruntime as ort
import pytest
from conftest import BUNDLE, REPOSITORY, pixels, prompts

IMAGE = REPOSITORY / "clip_image_encoder" / "1" / "model.onnx"
TEXT = REPOSITORY / "clip_text_encoder" / "1" / "model.onnx"


@pytest.fixture(scope="module")
def image() -> ort.InferenceSession:
    return ort.InferenceSession(str(IMAGE), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def text() -> ort.InferenceSession:
    return ort.InferenceSession(str(TEXT), providers=["CPUExecutionProvider"])


def test_encoder_json_names_these_files(encoder) -> None:
    hexes = []
    for name, path in (("clip_image_encoder", IMAGE), ("clip_text_encoder", TEXT)):
        entry = encoder["files"][f"{name}/1/model.onnx"]
        hexes.append(hashlib.sha256(path.read_bytes()).hexdigest())
        assert entry == {"sha256": hexes[-1], "bytes": path.stat().st_size}
    text = f"agiqa-encoder/1\n{hexes[0]}\n{hexes[1]}\n"
    assert encoder["digest"] == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("model", ["clip_image_encoder", "clip_text_encoder"])
@pytest.mark.parametrize("variant", ["embedded", "cpu", "gpu"])
def test_configurations_carry_the_digest(encoder, model, variant) -> None:
    config = (REPOSITORY / model / "configs" / f"{variant}.pbtxt").read_text()
    assert f'name: "{model}"' in config and encoder["digest"] in config


def test_the_bundle_belongs_to_the_encoder(encoder) -> None:
    manifest = json.loads((BUNDLE / "manifest.json").read_text())
    assert manifest["encoder"] == {"name": encoder["name"], "digest": encoder["digest"]}


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_embeddings_are_unit_vectors(encoder, image, text, rows) -> None:
    outputs = image.run(None, pixels(rows))[0], text.run(None, prompts(encoder, rows))[0]
    for output in outputs:
        assert output.shape == (rows, encoder["embedding_dim"]) and output.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(output, axis=1), 1, atol=1e-5)


def test_image_rows_do_not_depend_on_the_batch(image) -> None:
    inputs = pixels(9)["pixels"]
    whole = image.run(None, {"pixels": inputs})[0]
    alone = np.concatenate([image.run(None, {"pixels": inputs[i : i + 1]})[0] for i in range(9)])
    np.testing.assert_allclose(whole, alone, atol=1e-5)


def test_text_rows_do_not_depend_on_the_batch(encoder, text) -> None:
    inputs = prompts(encoder, 9)
    whole = text.run(None, inputs)[0]
    rows = [{name: array[i : i + 1] for name, array in inputs.items()} for i in range(9)]
    np.testing.assert_allclose(whole, np.concatenate([text.run(None, row)[0] for row in rows]), atol=1e-5)


def test_what_stands_behind_the_end_of_text_changes_nothing(encoder, text) -> None:
    inputs = prompts(encoder, 3)
    behind = inputs["token_ids"].copy()
    behind[:, 20:] = 5  # the end, the highest id, stays at 19
    after = text.run(None, {**inputs, "token_ids": behind})[0]
    np.testing.assert_allclose(text.run(None, inputs)[0], after, atol=1e-6)


def test_the_feature_moves_with_the_end_of_text(encoder, text) -> None:
    inputs = prompts(encoder, 3)
    earlier = inputs["token_ids"].copy()
    earlier[:, 18], earlier[:, 19] = 49407, 0
    assert np.abs(text.run(None, inputs)[0] - text.run(None, {**inputs, "token_ids": earlier})[0]).max() > 1e-3


def test_context_counts_only_under_the_mask(encoder, text) -> None:
    inputs = prompts(encoder, 3)
    outside = inputs["context"].copy()
    outside[inputs["context_mask"] == 0] += 7
    np.testing.assert_array_equal(text.run(None, inputs)[0], text.run(None, {**inputs, "context": outside})[0])
    inside = inputs["context"].copy()
    inside[inputs["context_mask"] == 1] *= -1  # not a constant added: the first norm would take it out again
    assert np.abs(text.run(None, inputs)[0] - text.run(None, {**inputs, "context": inside})[0]).max() > 1e-3


def test_ids_under_the_mask_are_not_looked_up(encoder, text) -> None:
    inputs = prompts(encoder, 3)
    other = inputs["token_ids"].copy()
    other[inputs["context_mask"] == 1] = 1234
    np.testing.assert_array_equal(text.run(None, inputs)[0], text.run(None, {**inputs, "token_ids": other})[0])
