"""The calibration of an 8-bit encoder, on a graph small enough to work out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from agiqa_train.calibrate import (
    CalibrationConfig,
    Range,
    balance,
    calibration,
    calibration_pixels,
    measure_ranges,
    quantisation,
    weighted_matmuls,
)
from agiqa_train.cli import main
from agiqa_train.drawn import drawn_image

CONFIG = CalibrationConfig(alpha=0.5)


def graph() -> onnx.ModelProto:
    """pixels, summed over the picture to [N, 3] shares of white: patch, two parts of qkv on it, fc1, proj."""
    weights = {
        "patch.weight": np.diag([1.0, -2.0, 4.0]),
        "layers.0.qkv.query.weight": np.array([[1.0], [2.0], [0.5]]),
        "layers.0.qkv.rest.weight": np.array([[-3.0, 0], [0, 1], [1, 1]]),
        "layers.0.fc1.weight": np.array([[2.0], [1.0]]),
        "proj.weight": np.array([[5.0]]),
    }
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    constants.append(numpy_helper.from_array(np.array(224 * 224 * 255, np.float32), "white"))
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["real", "axes"], ["sums"], keepdims=0),
        helper.make_node("Div", ["sums", "white"], ["shares"]),
        helper.make_node("MatMul", ["shares", "patch.weight"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "layers.0.qkv.query.weight"], ["query"]),
        helper.make_node("MatMul", ["embedded", "layers.0.qkv.rest.weight"], ["rest"]),
        helper.make_node("MatMul", ["rest", "layers.0.fc1.weight"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "proj.weight"], ["last"]),
        helper.make_node("Add", ["last", "query"], ["image_embedding"]),
        helper.make_node("Transpose", ["query"], ["turned"]),
        helper.make_node("MatMul", ["hidden", "turned"], ["attention"]),  # no weights: left alone
    ]
    constants.append(numpy_helper.from_array(np.array([1, 2], np.int64), "axes"))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 224, 224, 3])
    output = helper.make_tensor_value_info("image_embedding", TensorProto.FLOAT, ["N", 1])
    made = helper.make_graph(nodes, "g", [pixels], [output], constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def colours(*rows: tuple[int, int, int]) -> np.ndarray:
    """Pictures of one colour each."""
    return np.broadcast_to(np.array(rows, np.uint8)[:, None, None], (len(rows), 224, 224, 3)).copy()


def test_parts_of_one_multiplication_are_one() -> None:
    found = {matmul.key: matmul for matmul in weighted_matmuls(graph(), CONFIG)}
    assert list(found) == ["layers.0.qkv", "layers.0.fc1", "proj"]
    assert found["layers.0.qkv"].weight.shape == (3, 3) and found["layers.0.qkv"].activations == ("embedded",)


def test_a_graph_without_weights_is_refused() -> None:
    model = graph()
    del model.graph.node[3:9]
    with pytest.raises(ValueError, match="float graph"):
        weighted_matmuls(model, CONFIG)


def test_ranges_are_those_of_all_batches() -> None:
    ranges = measure_ranges(graph(), [colours((255, 0, 0), (0, 255, 51)), colours((0, 0, 255))], CONFIG)
    np.testing.assert_allclose(ranges["layers.0.qkv"].low, [0, -2, 0], atol=1e-4)
    np.testing.assert_allclose(ranges["layers.0.qkv"].high, [1, 0, 4], atol=1e-4)


def test_balance_moves_the_load_to_the_weights() -> None:
    activation = Range(np.array([-100.0, 0, 0]), np.array([1.0, 1, 0]))
    weight = np.array([[0.25, -1.0], [1.0, 0.5], [1.0, 0.0]])
    factors = balance(activation, weight, CONFIG)
    largest = np.array([100, 1, 1e-5])
    want = np.sqrt(largest / np.array([1, 1, 1]))
    np.testing.assert_allclose(factors, want / np.exp(np.log(want).mean()), rtol=1e-5)
    assert np.exp(np.log(factors).mean()) == pytest.approx(1, abs=1e-5)
    wide = balance(Range(np.array([0.0, 0]), np.array([1e9, 1e-3])), np.ones((2, 1)), CalibrationConfig(alpha=1.0))
    assert wide.tolist() == pytest.approx([100, 0.01])


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero"),
    [(-1.0, 4.0, 5 / 255, 51), (1.0, 5.1, 0.02, 0), (-2.55, -1.0, 0.01, 255), (0.0, 0.0, 1.0, 0)],
)
def test_quantisation_holds_zero(low: float, high: float, scale: float, zero: int) -> None:
    got = quantisation(low, high)
    assert got[0] == pytest.approx(scale) and got[1] == zero and got[1].dtype == np.uint8


def test_the_file_has_balanced_ranges() -> None:
    model = graph()
    ranges = measure_ranges(model, [colours((255, 0, 0), (0, 255, 0), (0, 0, 255))], CONFIG)
    tensors = calibration(model, ranges, CONFIG)
    assert sorted(tensors) == sorted(
        [f"{key}.{part}" for key in ("layers.0.qkv", "layers.0.fc1", "proj") for part in ("input_scale", "input_zero_point")]
        + ["layers.0.qkv.smooth", "layers.0.fc1.smooth"]
    )
    factors = tensors["layers.0.qkv.smooth"]
    low, high = (ranges["layers.0.qkv"].low / factors).min(), (ranges["layers.0.qkv"].high / factors).max()
    assert tensors["layers.0.qkv.input_scale"][0] == pytest.approx((high - low) / 255)
    assert tensors["layers.0.qkv.input_zero_point"][0] == round(-low / (high - low) * 255)
    # The projection is not balanced.
    span = ranges["proj"].high[0] - min(ranges["proj"].low[0], 0)
    assert tensors["proj.input_scale"][0] == pytest.approx(span / 255)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    onnx.save(graph(), tmp_path / "g.onnx")
    (tmp_path / "images").mkdir()
    for i in range(3):
        drawn_image(240, np.random.default_rng(i)).save(tmp_path / "images" / f"{i}.png")
    call = ["calibrate", "--graph", str(tmp_path / "g.onnx"), "--images", str(tmp_path / "images"), "--pictures", "2"]
    assert main([*call, "--out", str(tmp_path / "c.safetensors")]) == 0
    files = sorted((tmp_path / "images").iterdir())
    batches = list(calibration_pixels(files, CalibrationConfig(pictures=2)))
    assert [len(batch) for batch in batches] == [4, 2]
    config = CalibrationConfig(pictures=2)
    want = calibration(graph(), measure_ranges(graph(), batches, config), config)
    got = load_file(tmp_path / "c.safetensors")
    assert sorted(got) == sorted(want)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)
    assert main([*call, "--out", str(tmp_path / "c.safetensors"), "--alpha", "2"]) == 1
    assert "--alpha 2 is not between 0 and 1" in capsys.readouterr().err
