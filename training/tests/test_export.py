"""The exported graphs agree with PyTorch, are small and use plain operators alone."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from agiqa_train.clip import Clip, demo_config
from agiqa_train.onnx_export import export_encoders
from agiqa_train.triton_repository import GENERAL, QUALITY_WORDS, config_text, model_configs, write_encoder

PLAIN = {
    "Add", "ArgMax", "Cast", "Concat", "Constant", "ConstantOfShape", "Conv", "Div", "Equal", "Expand", "Gather", "Identity",
    "LayerNormalization", "MatMul", "Mul", "Not", "ReduceL2", "Reshape", "Shape", "Sigmoid", "Slice", "Softmax",
    "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip


@pytest.fixture()
def exported(tiny: Clip, tmp_path: Path) -> tuple[Path, Path]:
    """Both graphs of the tiny encoder."""
    paths = tmp_path / "image.onnx", tmp_path / "text.onnx"
    drifts = export_encoders(tiny, *paths)
    assert all(d.full <= 1e-3 and d.rounded <= 1e-5 for d in drifts.values())
    return paths


def test_graphs_are_plain(exported: tuple[Path, Path]) -> None:
    for path in exported:
        model = onnx.load(path)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
        assert {node.op_type for node in model.graph.node} <= PLAIN
        assert not any(node.doc_string for node in model.graph.node)
        shapes = [value.type.tensor_type.shape.dim for value in [*model.graph.input, *model.graph.output]]
        assert all(dims[0].dim_param == "batch" for dims in shapes)
        assert all(dim.dim_value > 0 for dims in shapes for dim in dims[1:])


def test_large_weights_are_stored_in_half(exported: tuple[Path, Path]) -> None:
    for path in exported:
        for tensor in onnx.load(path).graph.initializer:
            size = 1
            for dim in tensor.dims:
                size *= dim
            assert tensor.data_type != TensorProto.FLOAT or size < 1024, tensor.name


@pytest.mark.parametrize("capability", [GENERAL, QUALITY_WORDS])
def test_repository_is_complete(tiny: Clip, tmp_path: Path, capability: str) -> None:
    digest, _ = write_encoder(tiny, tmp_path, "tiny", "a test", {}, text_capability=capability)
    assert json.loads((tmp_path / "encoder.json").read_text())["capabilities"] == {"text": capability}
    for variant in ("embedded", "cpu", "gpu"):
        config = (tmp_path / "clip_text_encoder" / "configs" / f"{variant}.pbtxt").read_text()
        assert f'key: "text_capability" value {{ string_value: "{capability}" }}' in config
    for model in ("clip_image_encoder", "clip_text_encoder"):
        names = {str(p.relative_to(tmp_path / model)) for p in (tmp_path / model).rglob("*") if p.is_file()}
        variants = {f"configs/{variant}.pbtxt" for variant in ("embedded", "cpu", "gpu")}
        assert names == {"1/model.onnx", "1/model.py", *variants}
        assert digest in (tmp_path / model / "configs" / "gpu.pbtxt").read_text()


def test_engine_profiles_cover_every_batch(tiny: Clip) -> None:
    image, _ = model_configs(tiny.config, "tiny", "sha256:0")
    size = tiny.config.vision.resolution
    config = config_text(image, "gpu")
    assert f'"trt_profile_min_shapes" value: "pixels:1x{size}x{size}x3"' in config
    assert f'"trt_profile_max_shapes" value: "pixels:32x{size}x{size}x3"' in config
    assert "TENSORRT" not in config_text(image, "cpu").upper()


def test_gpus_encode_texts_in_fp32(tiny: Clip) -> None:
    """Golden scores are replayed to 1e-4, and FP16 and TF32 miss that."""
    image, text = model_configs(tiny.config, "tiny", "sha256:0")
    assert 'key: "precision_mode" value: "FP16"' in config_text(image, "gpu")
    config = config_text(text, "gpu")
    assert 'name: "cuda"' in config and 'key: "use_tf32" value: "0"' in config
    assert "tensorrt" not in config and "precision_mode" not in config


@pytest.mark.parametrize("variant", ["embedded", "cpu", "gpu"])
def test_committed_configurations_are_what_is_written(variant: str) -> None:
    """Go's tests compare the server's own writer with the same files."""
    repository = Path(__file__).resolve().parents[2] / "model_repository"
    encoder = json.loads((repository / "encoder.json").read_text())
    for config in model_configs(demo_config(), encoder["name"], encoder["digest"], QUALITY_WORDS):
        assert config_text(config, variant) == (repository / config.name / "configs" / f"{variant}.pbtxt").read_text()
