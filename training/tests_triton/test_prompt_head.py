"""The prompt heads: model.py (NumPy) and model.onnx against the formula, each other and the golden cases.

A head's folder is written by package checkpoint from a bundle; every bundle of `demo/checkpoints/` that was
trained on the encoder beside it has one. Tolerances: 1e-6 between batches and 1e-5 between implementations, on scores of size 1 to 5.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from conftest import BUNDLE, REPOSITORY, ROOT, Request, TritonError, load_module

CATEGORIES = 6
# Ids of CLIP's vocabulary: the six quality words, "x", "." and the two ends.
WORDS = (9741, 2103, 3665, 6254, 886, 1878)
X, FULL_STOP, START, END = 343, 269, 49406, 49407


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of an F32 file."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(raw[slice(*(start + o for o in e["data_offsets"]))], "<f4").reshape(e["shape"])
        for name, e in header.items()
    }


def head_name(folder: Path) -> str:
    """The model's name: the first 16 digits of the digest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    return "prompt_head_" + manifest["digest"].removeprefix("sha256:")[:16]


def bundles() -> list[str]:
    """Names of the bundles of the repository's encoder."""
    encoder = json.loads((REPOSITORY / "encoder.json").read_text())["digest"]
    found = {p.parent.name: json.loads(p.read_text())["encoder"]["digest"] for p in BUNDLE.parent.glob("*/manifest.json")}
    return sorted(name for name, digest in found.items() if digest == encoder)


@pytest.fixture(scope="module", params=bundles())
def head(request: pytest.FixtureRequest) -> SimpleNamespace:
    """Each bundle's head: its module, an initialised model, a session, the bundle's numbers and its sizes."""
    folder = BUNDLE.parent / request.param
    name = head_name(folder)
    module = load_module(name)
    model = module.TritonPythonModel()
    model.initialize({"model_name": name})
    session = ort.InferenceSession(str(REPOSITORY / name / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
    tensors = read_safetensors(folder / "weights.safetensors")
    return SimpleNamespace(
        module=module,
        model=model,
        session=session,
        tensors=tensors,
        manifest=json.loads((folder / "manifest.json").read_text()),
        dim=tensors["head.0.weight"].shape[1] // (1 + CATEGORIES),
    )


def unit(*shape: int, seed: int) -> np.ndarray:
    """Random float32 unit vectors along the last axis."""
    values = np.random.default_rng(seed).normal(size=shape)
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def inputs(dim: int, rows: int, seed: int = 0, same_texts: bool = True) -> dict[str, np.ndarray]:
    """Images, and texts that are the same for every row, as a checkpoint's are, or not."""
    texts = unit(1 if same_texts else rows, CATEGORIES, dim, seed=1000 if same_texts else 2000 + seed)
    return {
        "image_embedding": unit(rows, dim, seed=seed),
        "text_embeddings": np.ascontiguousarray(np.broadcast_to(texts, (rows, CATEGORIES, dim))),
    }


def formula(tensors: dict[str, np.ndarray], images: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The head as the paper gives it, in float64."""
    t = {name: array.astype(np.float64) for name, array in tensors.items()}
    features = np.concatenate([images, texts.reshape(len(texts), -1)], axis=1).astype(np.float64)
    hidden = np.maximum(features @ t["head.0.weight"].T + t["head.0.bias"], 0)
    return hidden @ t["head.1.weight"].T + t["head.1.bias"], np.einsum("nd,ncd->nc", images, texts, dtype=np.float64)


def ask(head: SimpleNamespace, *requests: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """What model.py answers to good requests that arrive together."""
    responses = head.model.execute([Request(r) for r in requests])
    assert [r.error for r in responses] == [None] * len(requests)
    return [r.arrays() for r in responses]


def test_the_committed_files_are_the_master(head) -> None:
    assert Path(head.module.__file__).read_bytes() == (ROOT / "checkpoint" / "model" / "model.py").read_bytes()


@pytest.mark.parametrize("rows", [1, 2, 32, 64])
@pytest.mark.parametrize("same_texts", [True, False])
def test_both_heads_follow_the_formula(head, rows, same_texts) -> None:
    x = inputs(head.dim, rows, same_texts=same_texts)
    score, similarity = formula(head.tensors, x["image_embedding"], x["text_embeddings"])
    (numpy_head,) = ask(head, x)
    onnx_head = dict(zip(("score", "category_similarity"), head.session.run(["score", "category_similarity"], x)))
    for answer in (numpy_head, onnx_head):
        assert answer["score"].shape == (rows, 1) and answer["score"].dtype == np.float32
        assert answer["category_similarity"].shape == (rows, CATEGORIES)
        assert answer["category_similarity"].dtype == np.float32
        np.testing.assert_allclose(answer["score"], score, atol=1e-5, rtol=0)
        np.testing.assert_allclose(answer["category_similarity"], similarity, atol=1e-6, rtol=0)


def test_a_score_does_not_depend_on_its_batch(head) -> None:
    x = inputs(head.dim, 32)
    rows = [{name: array[i : i + 1] for name, array in x.items()} for i in range(32)]
    (whole,) = ask(head, x)
    alone = np.concatenate([ask(head, row)[0]["score"] for row in rows])
    together = np.concatenate([answer["score"] for answer in ask(head, *rows)])
    np.testing.assert_allclose(whole["score"], alone, atol=1e-6, rtol=0)
    np.testing.assert_allclose(whole["score"], together, atol=1e-6, rtol=0)
    graph = np.concatenate([head.session.run(["score"], row)[0] for row in rows])
    np.testing.assert_allclose(head.session.run(["score"], x)[0], graph, atol=1e-5, rtol=0)


def test_requests_share_one_product_and_keep_their_order(head, monkeypatch) -> None:
    requests = [inputs(head.dim, rows, seed=rows) for rows in (1, 3, 2)]
    sizes = []
    judge = head.model.head.judge
    monkeypatch.setattr(head.model.head, "judge", lambda i, t: sizes.append(len(i)) or judge(i, t))
    answers = ask(head, *requests)
    assert sizes == [6]
    for request, answer in zip(requests, answers):
        score, similarity = formula(head.tensors, request["image_embedding"], request["text_embeddings"])
        np.testing.assert_allclose(answer["score"], score, atol=1e-5, rtol=0)
        np.testing.assert_allclose(answer["category_similarity"], similarity, atol=1e-6, rtol=0)


def test_texts_may_change_from_call_to_call(head) -> None:
    first, other = inputs(head.dim, 4), inputs(head.dim, 4, seed=7, same_texts=False)
    swapped = {**first, "text_embeddings": np.repeat(other["text_embeddings"][:1], 4, axis=0)}
    for x in (first, swapped, first, other, first):
        score, _ = formula(head.tensors, x["image_embedding"], x["text_embeddings"])
        np.testing.assert_allclose(ask(head, x)[0]["score"], score, atol=1e-5, rtol=0)


def test_the_kept_text_share_is_a_copy(head) -> None:
    x = inputs(head.dim, 2)
    ask(head, x)
    x["text_embeddings"] *= -1  # Triton reuses the memory behind a request
    score, _ = formula(head.tensors, x["image_embedding"], x["text_embeddings"])
    np.testing.assert_allclose(ask(head, x)[0]["score"], score, atol=1e-5, rtol=0)


def test_a_bad_request_does_not_touch_its_neighbours(head) -> None:
    good = inputs(head.dim, 2)
    bad = {**good, "image_embedding": good["image_embedding"][:, :5]}
    responses = head.model.execute([Request(good), Request(bad), Request(good, cancelled=True), Request(good)])
    assert responses[0].error is None and responses[3].error is None
    assert responses[1].error.code == TritonError.INVALID_ARG
    assert responses[2].error.code == TritonError.CANCELLED
    assert responses[1].output_tensors == [] and responses[2].output_tensors == []
    np.testing.assert_array_equal(responses[0].arrays()["score"], responses[3].arrays()["score"])


def test_only_bad_requests_compute_nothing(head, monkeypatch) -> None:
    monkeypatch.setattr(head.model, "head", SimpleNamespace(dim=head.dim))
    responses = head.model.execute([Request({}), Request(inputs(head.dim, 1), cancelled=True)])
    assert responses[0].error.code == TritonError.INVALID_ARG
    assert responses[1].error.code == TritonError.CANCELLED


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("image_embedding", lambda a: None, "input image_embedding: is missing"),
        ("text_embeddings", lambda a: None, "input text_embeddings: is missing"),
        ("image_embedding", lambda a: a.astype(np.float64), "has type float64, float32 is wanted"),
        ("image_embedding", lambda a: a[0], "input image_embedding: has shape"),
        ("image_embedding", lambda a: a[:0], "input image_embedding: has shape 0x"),
        ("text_embeddings", lambda a: a[:, :5], "input text_embeddings: has shape 3x5x"),
        ("text_embeddings", lambda a: a[:, :, 1:], "input text_embeddings: has shape 3x6x"),
        ("text_embeddings", lambda a: a[:2], "has 2 rows where image_embedding has 3"),
    ],
)
def test_find_fault(head, name, change, words) -> None:
    x = inputs(head.dim, 3)
    assert head.module.find_fault(x["image_embedding"], x["text_embeddings"], head.dim) is None
    x[name] = change(x[name])
    fault = head.module.find_fault(x["image_embedding"], x["text_embeddings"], head.dim)
    assert fault is not None and words in fault


def prompt_row(word: int, position: str, length: int) -> tuple[list[int], list[int]]:
    """Token ids of one prompt, and where its context vectors stand."""
    before = {"end": length, "middle": length // 2, "front": 0}[position]
    ids = [START] + [X] * before + [word] + [X] * (length - before) + [FULL_STOP, END]
    return ids, [i for i, token in enumerate(ids) if token == X]


def text_embeddings(manifest: dict, context: np.ndarray) -> np.ndarray:
    """[1, 6, D] from the committed text encoder."""
    session = ort.InferenceSession(
        str(REPOSITORY / "clip_text_encoder" / "1" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    shapes = {value.name: value.shape for value in session.get_inputs()}
    ids = np.zeros((CATEGORIES, shapes["token_ids"][1]), np.int32)
    mask = np.zeros((CATEGORIES, shapes["context_mask"][1]), np.uint8)
    vectors = np.zeros((CATEGORIES, *shapes["context"][1:]), np.float32)
    for i, word in enumerate(WORDS):
        row, slots = prompt_row(word, manifest["class_token_position"], manifest["context_length"])
        ids[i, : len(row)] = row
        mask[i, slots] = 1
        vectors[i, slots] = context[i] if context.ndim == 3 else context
    return session.run(None, {"token_ids": ids, "context": vectors, "context_mask": mask})[0][None]


def test_golden_scores(head) -> None:
    """The whole chain after the image encoder: context, text encoder, head, against training's own scores."""
    golden = head.manifest["golden"]
    texts = text_embeddings(head.manifest, head.tensors["context"])
    x = {
        "image_embedding": np.array([case["image_embedding"] for case in golden], np.float32),
        "text_embeddings": np.repeat(texts, len(golden), axis=0),
    }
    want = np.array([[case["score"]] for case in golden])
    numpy_score = ask(head, x)[0]["score"]
    graph_score = head.session.run(["score"], x)[0]
    np.testing.assert_allclose(numpy_score, graph_score, atol=1e-5, rtol=0)
    np.testing.assert_allclose(numpy_score, want, atol=1e-4, rtol=0)
    np.testing.assert_allclose(graph_score, want, atol=1e-4, rtol=0)
    assert len(np.unique(want)) > 1, "the golden cases cannot tell one image from another"


def test_there_is_a_bundle_to_test() -> None:
    assert (BUNDLE / "manifest.json").is_file(), "without one, the tests above would have no parameters"
