"""Writes the encoder model folders of a Triton repository and `encoder.json` beside them.

Three configurations a model, picked with `--model-config-name`: `embedded` (Python backend),
`cpu` and `gpu` (onnxruntime backend). Only fields that tritonserver 2.51 (24.10) knows are used.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
import torch

from .clip import Clip, ClipConfig
from .digest import ENCODER_FORMAT, encoder_digest, file_sha256
from .onnx_export import OPSET, Drift, export_encoders

IMAGE_MODEL = "clip_image_encoder"
TEXT_MODEL = "clip_text_encoder"
# What a text tower knows: language, or the words of quality and distortion alone.
GENERAL, QUALITY_WORDS = "general", "quality-words"
BACKENDS = {"embedded": "python", "cpu": "onnxruntime", "gpu": "onnxruntime"}
TRT_CACHE = "/var/cache/triton/trt"
# A backstop of half a minute. It must not be 0: a request's own timeout can only lower it, and is
# ignored without it. The gateway's admission is the real guard.
QUEUE_TIMEOUT_US = 30_000_000
QUEUE_SIZE = 4096
# How many processors `cpu` keeps busy with images: the limit of its container in compose.
CPU_INSTANCES = 8


@dataclass(frozen=True)
class TensorConfig:
    """One tensor; `dims` without the batch."""

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class ModelConfig:
    """What the three configurations of one model share."""

    name: str
    max_batch_size: int
    usual_batch: int  # what an engine is tuned for: the optimum of its shape profile
    inputs: tuple[TensorConfig, ...]
    outputs: tuple[TensorConfig, ...]
    parameters: dict[str, str]
    fp16: bool  # a GPU may compute in half precision
    cpu_instances: int = 1  # that run at once in the configuration `cpu`; several have a thread each


def model_configs(
    config: ClipConfig, encoder_name: str, digest: str, text_capability: str = GENERAL
) -> tuple[ModelConfig, ModelConfig]:
    """Image and text encoder of an encoder pair."""
    size, length, width = config.vision.resolution, config.text.context_length, config.text.width
    shared = {"encoder_digest": digest, "encoder_name": encoder_name}
    image = ModelConfig(
        IMAGE_MODEL,
        32,
        8,
        (TensorConfig("pixels", "TYPE_UINT8", (size, size, 3)),),
        (TensorConfig("image_embedding", "TYPE_FP32", (config.embed_dim,)),),
        shared,
        fp16=True,
        cpu_instances=CPU_INSTANCES,
    )
    text = ModelConfig(
        TEXT_MODEL,
        64,
        6,  # the prompts of one checkpoint
        (
            TensorConfig("token_ids", "TYPE_INT32", (length,)),
            TensorConfig("context", "TYPE_FP32", (length, width)),
            TensorConfig("context_mask", "TYPE_UINT8", (length,)),
        ),
        (TensorConfig("text_embedding", "TYPE_FP32", (config.embed_dim,)),),
        {**shared, "text_width": str(width), "context_length": str(length), "text_capability": text_capability},
        fp16=False,
    )
    return image, text


def tensor_block(field: str, tensors: tuple[TensorConfig, ...]) -> str:
    """An `input [...]` or `output [...]` list."""
    rows = ",\n".join(
        f'  {{ name: "{t.name}" data_type: {t.data_type} dims: [ {", ".join(map(str, t.dims))} ] }}' for t in tensors
    )
    return f"{field} [\n{rows}\n]\n"


def profile(config: ModelConfig, batch: int) -> str:
    """TensorRT shapes of all inputs at one batch size, `name:1x2x3,...`."""
    return ",".join(f"{t.name}:{'x'.join(map(str, (batch, *t.dims)))}" for t in config.inputs)


CUDA_FP32 = """\
# Neither TensorRT's FP16 nor TF32: both keep ten bits of a fraction, too few
# for golden scores that are replayed to 1e-4. Texts are encoded at imports and
# once for each new prompt, so their speed hardly counts.
"""


def accelerator_block(config: ModelConfig) -> str:
    """The execution accelerator: cached FP16 engines for every batch up to the largest, or CUDA in full FP32."""
    name, parameters = "cuda", {"use_tf32": "0"}
    if config.fp16:
        name = "tensorrt"
        parameters = {
            "precision_mode": "FP16",
            "trt_engine_cache_enable": "true",
            "trt_engine_cache_path": f"{TRT_CACHE}/{config.name}",
            "trt_timing_cache_enable": "true",
            "trt_timing_cache_path": f"{TRT_CACHE}/{config.name}",
            "trt_layer_norm_fp32_fallback": "true",
            "trt_profile_min_shapes": profile(config, 1),
            "trt_profile_opt_shapes": profile(config, config.usual_batch),
            "trt_profile_max_shapes": profile(config, config.max_batch_size),
        }
    rows = "\n".join(f'        parameters {{ key: "{k}" value: "{v}" }}' for k, v in parameters.items())
    return (
        ("" if config.fp16 else CUDA_FP32)
        + "optimization {\n  execution_accelerators {\n    gpu_execution_accelerator: [\n      {\n"
        f'        name: "{name}"\n{rows}\n'
        "      }\n    ]\n  }\n}\n"
    )


ONE_THREAD = """\
# One thread for each instance: ONNX Runtime's pools of several spin while they
# wait, which doubles what an image costs wherever threads have to share
# processors.
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
parameters { key: "inter_op_thread_count" value { string_value: "1" } }
"""


def warmup_block(config: ModelConfig) -> str:
    """Runs that end before the model is READY, so that no caller waits for an engine to be built."""
    blocks = []
    for batch in (1, config.usual_batch, config.max_batch_size):
        inputs = "\n".join(
            f'  inputs {{ key: "{t.name}" value {{ data_type: {t.data_type} '
            f"dims: [ {', '.join(map(str, t.dims))} ] zero_data: true }} }}"
            for t in config.inputs
        )
        blocks.append(f'model_warmup {{\n  name: "batch_{batch}"\n  batch_size: {batch}\n{inputs}\n}}\n')
    return "".join(blocks)


def config_text(config: ModelConfig, variant: str) -> str:
    """One configuration in protobuf text form."""
    kind = "KIND_GPU" if variant == "gpu" else "KIND_CPU"
    instances = config.cpu_instances if variant == "cpu" else 1
    parts = [
        "# Written by agiqa-train. Change training/agiqa_train/triton_repository.py instead.\n",
        f'name: "{config.name}"\nbackend: "{BACKENDS[variant]}"\nmax_batch_size: {config.max_batch_size}\n',
        tensor_block("input", config.inputs),
        tensor_block("output", config.outputs),
        f"instance_group [ {{ kind: {kind} count: {instances} }} ]\n",
        "version_policy { latest { num_versions: 1 } }\n",
        "dynamic_batching {\n  max_queue_delay_microseconds: 0\n  default_queue_policy {\n"
        "    timeout_action: REJECT\n"
        f"    default_timeout_microseconds: {QUEUE_TIMEOUT_US}\n"
        "    allow_timeout_override: true\n"
        f"    max_queue_size: {QUEUE_SIZE}\n  }}\n}}\n",
    ]
    if variant == "gpu":
        parts += [accelerator_block(config), warmup_block(config)]
    if instances > 1:
        parts.append(ONE_THREAD)
    parts += [f'parameters {{ key: "{k}" value {{ string_value: "{v}" }} }}\n' for k, v in config.parameters.items()]
    return "".join(parts)


def write_model_folder(repository: Path, config: ModelConfig) -> None:
    """The three configurations and `1/model.py`; the graph is there already."""
    folder = repository / config.name
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    for variant in BACKENDS:
        (folder / "configs" / f"{variant}.pbtxt").write_text(config_text(config, variant))
    shutil.copyfile(Path(__file__).with_name("triton_model.py"), folder / "1" / "model.py")


ENCODER_FILE = "encoder.json"
DEMO_LICENCE = "Apache-2.0"


def write_encoder(
    clip: Clip,
    repository: Path,
    name: str,
    source: str,
    metrics: dict,
    precision: str = "fp16",
    licence: str = DEMO_LICENCE,
    source_file: dict | None = None,
    accept: Callable[[str], None] | None = None,
    text_capability: str = GENERAL,
) -> tuple[str, dict[str, Drift]]:
    """Exports both encoders into `repository`; returns the encoder's digest and the measured drifts.

    `text_capability` is GENERAL or QUALITY_WORDS. Everything is written and checked beside the
    repository first. `accept` is called with the
    digest before anything is replaced, and may raise; whatever fails leaves the old encoder.
    """
    repository.parent.mkdir(parents=True, exist_ok=True)
    # Beside and not inside it: a rename is atomic within one file system, and Triton must not see a half.
    with tempfile.TemporaryDirectory(dir=repository.parent, prefix=f".{repository.name}.new-") as temporary:
        staged = Path(temporary)
        paths = {model: staged / model / "1" / "model.onnx" for model in (IMAGE_MODEL, TEXT_MODEL)}
        drifts = export_encoders(clip, paths[IMAGE_MODEL], paths[TEXT_MODEL], precision)
        digest = encoder_digest(paths[IMAGE_MODEL], paths[TEXT_MODEL])
        for config in model_configs(clip.config, name, digest, text_capability):
            write_model_folder(staged, config)
        document = encoder_document(clip.config, name, digest, staged, paths, drifts)
        document |= {
            "capabilities": {"text": text_capability},
            "precision": precision,
            "licence": licence,
            "source": source,
            **({} if source_file is None else {"source_file": source_file}),
            "metrics": {**metrics, **document["metrics"]},
        }
        (staged / ENCODER_FILE).write_text(json.dumps(document, indent=2) + "\n")
        if accept is not None:
            accept(digest)
        replace_all(staged, repository, (IMAGE_MODEL, TEXT_MODEL, ENCODER_FILE))
    return digest, drifts


def encoder_document(
    config: ClipConfig, name: str, digest: str, folder: Path, paths: dict[str, Path], drifts: dict[str, Drift]
) -> dict:
    """What `encoder.json` says of the graphs themselves."""
    return {
        "format": ENCODER_FORMAT,
        "name": name,
        "digest": digest,
        "architecture": {"family": "clip-vit", **config.to_dict()},
        "embedding_dim": config.embed_dim,
        "text_width": config.text.width,
        "context_length": config.text.context_length,
        "vocab_size": config.text.vocab_size,
        "image_size": config.vision.resolution,
        "files": {
            str(path.relative_to(folder)): {"sha256": file_sha256(path), "bytes": path.stat().st_size}
            for path in paths.values()
        },
        "opset": OPSET,
        "tools": {
            "torch": torch.__version__.split("+")[0],
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "metrics": {
            "export_max_abs_difference": {
                model: {"float32_weights": drift.full, "rounded_weights": drift.rounded}
                for model, drift in drifts.items()
            },
            "export_min_cosine": {model: drift.cosine for model, drift in drifts.items()},
        },
    }


def replace_all(staged: Path, target: Path, names: tuple[str, ...]) -> None:
    """Moves the named entries of `staged` into `target`, and puts the old ones back when one cannot be moved."""
    target.mkdir(parents=True, exist_ok=True)
    old = staged / "old"
    old.mkdir()
    moved: list[str] = []
    try:
        for name in names:
            if (target / name).exists():
                (target / name).rename(old / name)
            moved.append(name)
            (staged / name).rename(target / name)
    except OSError:
        for name in moved:
            if (target / name).exists():
                (target / name).rename(staged / name)
            if (old / name).exists():
                (old / name).rename(target / name)
        raise
