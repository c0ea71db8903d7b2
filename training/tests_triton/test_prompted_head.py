"""The head of a prompt-aware checkpoint: model.py (NumPy) and model.onnx against the reference, and each other.

`checkpoint/testdata/prompted` is written by `go test ./checkpoint`.
"""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from conftest import ROOT, Request, TritonError, fake_backend

FOLDER = ROOT / "checkpoint" / "testdata" / "prompted"
OUTPUTS = ("score", "category_similarity")


@pytest.fixture(scope="module")
def head() -> SimpleNamespace:
    """The head's module, an initialised model, a session, and what the reference says of some inputs."""
    (folder,) = FOLDER.glob("prompt_head_*")
    sys.modules["triton_python_backend_utils"] = fake_backend()
    spec = spec_from_file_location("prompted_head_model", folder / "1" / "model.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    model.initialize({"model_name": folder.name})
    session = ort.InferenceSession(str(folder / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
    cases = {name: np.array(v, np.float32) for name, v in json.loads((FOLDER / "cases.json").read_text()).items()}
    rows = len(cases["score"])
    inputs = {
        "image_embedding": cases["image_embedding"],
        "text_embeddings": np.repeat(cases["text_embeddings"][None], rows, axis=0),
        "prompt_embedding": cases["prompt_embedding"],
    }
    want = {"score": cases["score"][:, None], "category_similarity": cases["category_similarity"]}
    return SimpleNamespace(folder=folder, module=module, model=model, session=session, inputs=inputs, want=want)


def ask(head: SimpleNamespace, *requests: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """What model.py answers to good requests that arrive together."""
    responses = head.model.execute([Request(x) for x in requests])
    assert [r.error for r in responses] == [None] * len(requests)
    return [r.arrays() for r in responses]


def row(inputs: dict[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
    """One row of a request."""
    return {name: array[i : i + 1] for name, array in inputs.items()}


def test_the_written_file_is_the_master(head) -> None:
    master = ROOT / "checkpoint" / "model" / "prompted.py"
    assert (head.folder / "1" / "model.py").read_bytes() == master.read_bytes()


def test_both_forms_say_what_the_reference_says(head) -> None:
    graph = dict(zip(OUTPUTS, head.session.run(OUTPUTS, head.inputs)))
    for answer in (ask(head, head.inputs)[0], graph):
        for name in OUTPUTS:
            assert answer[name].dtype == np.float32 and answer[name].shape == head.want[name].shape
            np.testing.assert_allclose(answer[name], head.want[name], atol=1e-5, rtol=0)


def test_the_prompt_counts(head) -> None:
    swapped = {**head.inputs, "prompt_embedding": head.inputs["prompt_embedding"][::-1].copy()}
    score = ask(head, swapped)[0]["score"]
    others = [i for i in range(len(score)) if i != len(score) - 1 - i]
    assert (np.abs(score - head.want["score"])[others] > 1e-3).all()
    np.testing.assert_allclose(head.session.run(["score"], swapped)[0], score, atol=1e-5, rtol=0)


def test_a_score_does_not_depend_on_its_batch(head) -> None:
    rows = [row(head.inputs, i) for i in range(len(head.want["score"]))]
    whole = ask(head, head.inputs)[0]["score"]
    alone = np.concatenate([ask(head, x)[0]["score"] for x in rows])
    together = np.concatenate([answer["score"] for answer in ask(head, *rows)])
    np.testing.assert_allclose(whole, alone, atol=1e-6, rtol=0)
    np.testing.assert_allclose(whole, together, atol=1e-6, rtol=0)


def test_texts_may_change_from_call_to_call(head) -> None:
    other = {**head.inputs, "text_embeddings": head.inputs["text_embeddings"][:, ::-1].copy()}
    mixed = {
        **head.inputs,
        "text_embeddings": np.concatenate([head.inputs["text_embeddings"][:2], other["text_embeddings"][2:]]),
    }
    for x in (head.inputs, other, mixed, head.inputs):
        want = head.session.run(["score"], x)[0]
        np.testing.assert_allclose(ask(head, x)[0]["score"], want, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("prompt_embedding", lambda a: None, "input prompt_embedding: is missing"),
        ("prompt_embedding", lambda a: a.astype(np.float64), "has type float64, float32 is wanted"),
        ("prompt_embedding", lambda a: a[:, 1:], "input prompt_embedding: has shape 5x"),
        ("prompt_embedding", lambda a: a[:2], "prompt_embedding: has 2 rows where image_embedding has 5"),
        ("text_embeddings", lambda a: a[:2], "text_embeddings: has 2 rows where image_embedding has 5"),
        ("image_embedding", lambda a: a[:0], "input image_embedding: has shape 0x"),
    ],
)
def test_a_bad_request_does_not_touch_its_neighbours(head, name, change, words) -> None:
    changed = {**head.inputs, name: change(head.inputs[name])}
    bad = {key: value for key, value in changed.items() if value is not None}
    good, wrong, cancelled = head.model.execute(
        [Request(head.inputs), Request(bad), Request(head.inputs, cancelled=True)]
    )
    np.testing.assert_allclose(good.arrays()["score"], head.want["score"], atol=1e-5, rtol=0)
    assert wrong.error.code == TritonError.INVALID_ARG and words in str(wrong.error)
    assert cancelled.error.code == TritonError.CANCELLED
