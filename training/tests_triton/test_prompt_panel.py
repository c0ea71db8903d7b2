"""A panel: model.py (NumPy) and model.onnx against what the heads say by themselves, and each other.

The panel lies in `checkpoint/testdata/panel`, written by package checkpoint together with the answers
of its three heads, whose widths differ. Tolerances: 1e-5 between implementations and 1e-6 between
batches, on scores of size 1 to 10.
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

FOLDER = ROOT / "checkpoint" / "testdata" / "panel"
OUTPUTS = ("score", "category_similarity")


@pytest.fixture(scope="module")
def panel() -> SimpleNamespace:
    """The panel's module, an initialised model, a session, and the heads' own answers."""
    (folder,) = FOLDER.glob("prompt_panel_*")
    sys.modules["triton_python_backend_utils"] = fake_backend()
    spec = spec_from_file_location("prompt_panel_model", folder / "1" / "model.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    model.initialize({"model_name": folder.name})
    session = ort.InferenceSession(str(folder / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
    cases = {name: np.array(values) for name, values in json.loads((FOLDER / "cases.json").read_text()).items()}
    return SimpleNamespace(
        folder=folder, module=module, model=model, session=session, cases=cases,
        images=cases["image_embedding"].astype(np.float32),
    )  # fmt: skip


def ask(panel: SimpleNamespace, *images: np.ndarray) -> list[dict[str, np.ndarray]]:
    """What model.py answers to good requests that arrive together."""
    responses = panel.model.execute([Request({"image_embedding": x}) for x in images])
    assert [r.error for r in responses] == [None] * len(images)
    return [r.arrays() for r in responses]


def by_graph(panel: SimpleNamespace, images: np.ndarray) -> dict[str, np.ndarray]:
    """What model.onnx answers."""
    return dict(zip(OUTPUTS, panel.session.run(OUTPUTS, {"image_embedding": images})))


def test_the_written_file_is_the_master(panel) -> None:
    assert (panel.folder / "1" / "model.py").read_bytes() == (ROOT / "checkpoint" / "model" / "panel.py").read_bytes()


def test_both_panels_say_what_the_heads_say(panel) -> None:
    (numpy_panel,) = ask(panel, panel.images)
    for answer in (numpy_panel, by_graph(panel, panel.images)):
        for name in OUTPUTS:
            assert answer[name].dtype == np.float32
            assert answer[name].shape == panel.cases[name].shape
            np.testing.assert_allclose(answer[name], panel.cases[name], atol=1e-5, rtol=0)
    # In float64 the folded bias loses nothing: the same float32, to the last bit.
    np.testing.assert_array_equal(numpy_panel["score"], panel.cases["score"].astype(np.float32))


def test_a_score_does_not_depend_on_its_batch(panel) -> None:
    rows = [panel.images[i : i + 1] for i in range(len(panel.images))]
    (whole,) = ask(panel, panel.images)
    for answers in ([ask(panel, row)[0] for row in rows], ask(panel, *rows)):
        for name in OUTPUTS:
            np.testing.assert_allclose(np.concatenate([a[name] for a in answers]), whole[name], atol=1e-6, rtol=0)
    graph = np.concatenate([by_graph(panel, row)["score"] for row in rows])
    np.testing.assert_allclose(graph, whole["score"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("broken", ["panel.0.weight", "panel.0.bias", "panel.1.weight", "panel.1.bias"])
def test_a_broken_head_spoils_no_other(panel, broken) -> None:
    tensors = panel.module.read_tensors(panel.folder / "1" / "panel.safetensors")
    good, _ = panel.module.Panel({**tensors}).judge(panel.images)
    tensors[broken] = tensors[broken].copy()
    tensors[broken][1] = np.nan
    score, similarity = panel.module.Panel(tensors).judge(panel.images)
    assert np.isnan(score[:, 1]).all()
    np.testing.assert_array_equal(score[:, [0, 2]], good[:, [0, 2]])
    assert np.isfinite(similarity).all()


def test_a_score_beyond_float32_is_infinite(panel, recwarn) -> None:
    tensors = panel.module.read_tensors(panel.folder / "1" / "panel.safetensors")
    tensors["panel.1.bias"] = tensors["panel.1.bias"].copy()
    tensors["panel.1.bias"][2] = 1e60
    score, _ = panel.module.Panel(tensors).judge(panel.images)
    assert np.isinf(score[:, 2]).all() and np.isfinite(score[:, :2]).all()
    assert not recwarn.list


def test_a_bad_request_does_not_touch_its_neighbours(panel) -> None:
    good = {"image_embedding": panel.images[:2]}
    bad = {"image_embedding": panel.images[:2, :5]}
    responses = panel.model.execute([Request(good), Request(bad), Request(good, cancelled=True), Request(good)])
    assert responses[0].error is None and responses[3].error is None
    assert responses[1].error.code == TritonError.INVALID_ARG
    assert responses[2].error.code == TritonError.CANCELLED
    np.testing.assert_array_equal(responses[0].arrays()["score"], responses[3].arrays()["score"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: None, "input image_embedding: is missing"),
        (lambda a: a.astype(np.float64), "has type float64, float32 is wanted"),
        (lambda a: a[0], "input image_embedding: has shape"),
        (lambda a: a[:0], "input image_embedding: has shape 0x"),
        (lambda a: a[:, 1:], "is wanted"),
    ],
)
def test_find_fault(panel, change, words) -> None:
    dim = panel.images.shape[1]
    assert panel.module.find_fault(panel.images, dim) is None
    fault = panel.module.find_fault(change(panel.images), dim)
    assert fault is not None and words in fault
