"""Both model.py files: batching, splitting, an error for each request that deserves one."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import REPOSITORY, ROOT, Request, TritonError


def test_the_committed_files_are_the_one_in_training() -> None:
    source = (ROOT / "training" / "agiqa_train" / "triton_model.py").read_bytes()
    for model in ("clip_image_encoder", "clip_text_encoder"):
        assert (REPOSITORY / model / "1" / "model.py").read_bytes() == source, model


def test_requests_of_several_sizes_share_one_run(served, monkeypatch) -> None:
    sizes = [1, 3, 2]
    requests = [Request(served.inputs(rows, seed)) for seed, rows in enumerate(sizes)]
    runs = []
    session = served.model.session

    class Counting:
        def run(self, names, inputs, options):
            runs.append(len(next(iter(inputs.values()))))
            return session.run(names, inputs, options)

    monkeypatch.setattr(served.model, "session", Counting())
    responses = served.model.execute(requests)
    assert runs == [6]
    assert [len(r.arrays()[served.output]) for r in responses] == sizes
    for request, response in zip(requests, responses):
        alone = session.run([served.output], request.inputs)[0]
        np.testing.assert_allclose(response.arrays()[served.output], alone, atol=1e-5)


def test_a_bad_request_does_not_touch_its_neighbours(served) -> None:
    good = served.inputs(2)
    first = next(iter(good))
    bad = dict(good)
    bad[first] = good[first][:, :5]
    responses = served.model.execute([Request(good), Request(bad), Request(good, cancelled=True), Request(good)])
    assert responses[0].error is None and responses[3].error is None
    assert responses[1].error.code == TritonError.INVALID_ARG
    assert first in str(responses[1].error) and "is wanted" in str(responses[1].error)
    assert responses[2].error.code == TritonError.CANCELLED
    assert responses[1].output_tensors == [] and responses[2].output_tensors == []
    np.testing.assert_array_equal(responses[0].arrays()[served.output], responses[3].arrays()[served.output])


def test_only_bad_requests_run_nothing(served, monkeypatch) -> None:
    monkeypatch.setattr(served.model, "session", None)
    responses = served.model.execute([Request({}), Request(served.inputs(1), cancelled=True)])
    assert "is missing" in str(responses[0].error)
    assert responses[1].error.code == TritonError.CANCELLED


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.astype(np.float64), "has type float64"),
        (lambda a: a[0], "has shape"),
        (lambda a: a[:0], "has 0 rows"),
        (lambda a: np.repeat(a, 65, axis=0), "rows, 1 to"),
    ],
    ids=["type", "rank", "no rows", "too many rows"],
)
def test_find_fault(served, change, words) -> None:
    inputs = served.inputs(1)
    first = next(iter(inputs))
    inputs[first] = change(inputs[first])
    fault = served.module.find_fault(served.model.inputs, inputs, served.model.max_batch)
    assert fault is not None and fault.startswith(f"input {first}: ") and words in fault


def test_find_fault_compares_the_rows_of_all_inputs(served) -> None:
    inputs = served.inputs(2)
    if len(inputs) == 1:
        assert served.module.find_fault(served.model.inputs, inputs, 32) is None
        return
    inputs["context"] = inputs["context"][:1]
    assert "has 1 rows where another input has 2" in served.module.find_fault(served.model.inputs, inputs, 64)


@pytest.mark.parametrize(
    ("value", "cpus", "want"), [("", 8, 2), ("", 1, 1), ("", None, 1), ("3", 1, 3)], ids=["default", "one", "unknown", "set"]
)
def test_thread_count(served, value, cpus, want) -> None:
    parameters = {"intra_op_num_threads": {"string_value": value}} if value else {}
    assert served.module.thread_count(parameters, cpus) == want


@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_thread_count_refuses_nonsense(served, value) -> None:
    with pytest.raises(ValueError, match="intra_op_num_threads"):
        served.module.thread_count({"intra_op_num_threads": {"string_value": value}}, 4)


def test_graph_file(served) -> None:
    named = {"graph_file": {"string_value": "model.int8.onnx"}}
    assert [served.module.graph_file(p) for p in ({}, named)] == ["model.onnx", "model.int8.onnx"]


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", ".."])
def test_graph_file_refuses_other_folders(served, name) -> None:
    with pytest.raises(ValueError, match="graph_file"):
        served.module.graph_file({"graph_file": {"string_value": name}})
