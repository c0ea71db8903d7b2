"""Reads CLIP weights as others publish them, and brings them into this project's form (`clip.Clip`).

A source is written `FORMAT:PATH`:

- `openai:FILE`: OpenAI's `ViT-B-16.pt` and its like, a TorchScript archive; or a plain state dict
  with the same tensor names.
- `hf:DIR`: a Hugging Face CLIP folder, `config.json` and `model.safetensors` or
  `pytorch_model.bin`; or `hf:OWNER/NAME[@REVISION]`, which is downloaded from the Hub (`hub`).
- `open_clip:FILE`: an open_clip state dict, `.safetensors` or a torch file, bare or inside a
  training checkpoint.
- `demo:DIR`: the run folder of `agiqa-train demo-small`.

Sizes come from the tensors' shapes. What shapes cannot say is the activation: OpenAI's is always
QuickGELU, a Hugging Face folder names it, an open_clip file does not (see `open_clip_activation`).
Nothing is guessed about tensors: each must be there, none may be left over, and every fault is in
one error that names them.

No pickle is executed: plain files are read with `weights_only`. A TorchScript archive can only be
read by `torch.jit.load`, whose unpickler knows TorchScript types alone; its code is not run here,
but it is parsed, so take such archives from those whom you trust.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from . import hub
from .clip import ACTIVATIONS, LAYER_NORM_EPS, Clip, ClipConfig, TextConfig, VisionConfig
from .digest import file_sha256

State = dict[str, Tensor]

# OpenAI's archives carry their sizes as tensors beside the weights.
OPENAI_SIZES = ("input_resolution", "context_length", "vocab_size")
HEAD_WIDTH = 64  # of every published ViT-B and ViT-L; only a Hugging Face folder can say otherwise
# What --source takes.
SOURCE_FORMS = "openai:FILE, hf:DIR, hf:OWNER/NAME[@REVISION], open_clip:FILE or demo:DIR"
MOST_NAMES = 6  # in one error, of each kind of fault


class SourceError(ValueError):
    """The source cannot be read, or is not the CLIP it should be; the message names the file and why."""


@dataclass(frozen=True)
class SourceInfo:
    """Where weights came from, for `encoder.json`. No path: a name means nothing on another machine."""

    format: str
    file: str
    sha256: str
    bytes: int
    weights: str  # types of the stored tensors, "float16, float32"
    activation_from: str  # what said which activation it is

    def sentence(self) -> str:
        """For people."""
        return f"{self.format} weights {self.file} (sha256 {self.sha256})"


@dataclass(frozen=True)
class _Raw:
    """A source after reading: OpenAI's tensor names, what is known besides."""

    state: State
    file: Path
    activation: str
    activation_from: str
    heads: tuple[int, int] | None = None  # image, text
    stated: ClipConfig | None = None  # sizes that the source itself states


def load_clip(source: str, activation: str | None = None, cache: Path | None = None) -> tuple[Clip, SourceInfo]:
    """Reads `FORMAT:PATH` into a float32 model ready for use; raises SourceError.

    `activation` overrides what an open_clip file leaves open, and must agree with what any other
    source says. `cache` is the folder of downloads from the Hub (None: `hub.default_cache`).
    """
    kind, path = split_source(source)
    label = None
    try:
        if on_hub(kind, path):
            snapshot = hub.look_up(str(path))
            hub.warn_of_pickle(snapshot)
            path = hub.download(snapshot, cache or hub.default_cache())
            label = f"{snapshot.repository}@{snapshot.commit}"
        raw = READERS[kind](path, activation)
        if activation is not None and raw.activation != activation:
            raise SourceError(f"{raw.activation_from} says {raw.activation}, asked for was {activation}")
        config = infer_config(raw.state, raw.activation, raw.heads)
        if raw.stated is not None:
            check_stated(raw.stated, config)
        clip = build(raw.state, config)
    except (SourceError, hub.HubError) as fault:
        raise SourceError(f"source {source}: {fault}") from fault
    types = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in raw.state.values()})
    info = SourceInfo(
        format=kind,
        file=raw.file.name if raw.file.parent == path.parent else f"{label or path.resolve().name}/{raw.file.name}",
        sha256=file_sha256(raw.file),
        bytes=raw.file.stat().st_size,
        weights=", ".join(types),
        activation_from=raw.activation_from,
    )
    return clip, info


def source_sha256(source: str, cache: Path | None = None) -> str:
    """The digest that `load_clip` would report, without loading anything; raises SourceError.

    A repository on the Hub is not downloaded for it, unless the Hub doesn't list the digest.
    """
    kind, path = split_source(source)
    try:
        if on_hub(kind, path):
            snapshot = hub.look_up(str(path))
            if snapshot.weights_sha256 is not None:
                return snapshot.weights_sha256
            path = hub.download(snapshot, cache or hub.default_cache())
    except hub.HubError as fault:
        raise SourceError(f"source {source}: {fault}") from fault
    if kind == "hf":
        path = hugging_face_weights(path)
    elif kind == "demo":
        path = path / DEMO_FILE
    if not path.is_file():
        raise SourceError(f"source {source}: there is no such file or folder")
    return file_sha256(path)


def split_source(source: str) -> tuple[str, Path]:
    """Format and path of `FORMAT:PATH`; a repository on the Hub is a path that isn't there. Raises SourceError."""
    kind, colon, rest = source.partition(":")
    if not colon or kind not in READERS or not rest:
        raise SourceError(f"source {source!r}: want one of {', '.join(f'{name}:PATH' for name in READERS)}")
    path = Path(rest)
    if not path.exists() and not on_hub(kind, path):
        raise SourceError(f"source {source}: there is no such file or folder")
    return kind, path


def on_hub(kind: str, path: Path) -> bool:
    """Whether a source is a repository on the Hub: of its form, and no folder here."""
    return kind == "hf" and not path.exists() and hub.is_repository(str(path))


# Reading files.


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive rather than a pickled state dict."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torch(path: Path) -> dict:
    """A torch file without executing anything in it."""
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, OSError, EOFError, ValueError, KeyError) as fault:
        raise SourceError(f"{path.name} is not a torch file of tensors alone: {first_line(fault)}") from fault
    if not isinstance(document, dict):
        raise SourceError(f"{path.name} holds a {type(document).__name__}, want a dict of tensors")
    return document


def read_safetensors(path: Path) -> State:
    """A safetensors file."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as fault:
        raise SourceError(f"{path.name} is not a safetensors file: {first_line(fault)}") from fault


def first_line(fault: Exception) -> str:
    """An error of another library in one line; torch's go on for a page."""
    return str(fault).strip().split("\n")[0][:200] or type(fault).__name__


def tensors_only(document: dict, path: Path) -> State:
    """The dict itself, when it maps names to tensors and nothing else."""
    others = [str(name) for name, value in document.items() if not isinstance(value, Tensor)]
    if others:
        raise SourceError(f"{path.name}: {listed(others)} are not tensors")
    return document


def listed(names: list[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


# One reader a format.


def read_openai(path: Path, activation: str | None) -> _Raw:
    """OpenAI's archive or a state dict with its names."""
    del activation
    if is_torchscript(path):
        try:
            state = dict(torch.jit.load(path, map_location="cpu").state_dict())
        except RuntimeError as fault:
            raise SourceError(f"{path.name} is a damaged TorchScript archive: {first_line(fault)}") from fault
    else:
        document = read_torch(path)
        state = tensors_only(document.get("state_dict", document), path)
    sizes = {name: int(state.pop(name)) for name in OPENAI_SIZES if name in state}
    raw = _Raw(state, path, "quick_gelu", "OpenAI's models all use it")
    config = infer_config(state, raw.activation, None)
    actual = dict(zip(OPENAI_SIZES, (config.vision.resolution, config.text.context_length, config.text.vocab_size)))
    for name, size in sizes.items():
        if size != actual[name]:
            raise SourceError(f"{name} is {size}, but the tensors' shapes say {actual[name]}")
    return raw


def open_clip_activation(path: Path, activation: str | None) -> tuple[str, str]:
    """The activation of an open_clip file, which does not hold it, and what said so.

    In this order: the caller; `open_clip_config.json` beside the file, as on the Hugging Face hub;
    "quickgelu" in the file's name, as in open_clip's model names; open_clip's default, GELU.
    """
    if activation is not None:
        return activation, "--activation"
    beside = path.with_name("open_clip_config.json")
    if beside.exists():
        document = json.loads(beside.read_text())
        quick = bool(document.get("model_cfg", document).get("quick_gelu", False))
        return ("quick_gelu" if quick else "gelu"), beside.name
    if "quickgelu" in path.name.lower().replace("_", "").replace("-", ""):
        return "quick_gelu", "the file's name"
    return "gelu", "open_clip's default, for the file does not say"


def read_open_clip(path: Path, activation: str | None) -> _Raw:
    """A state dict, or one inside a training checkpoint; with the text tower at the top or under `text.`."""
    if path.suffix == ".safetensors":
        state = read_safetensors(path)
    elif is_torchscript(path):
        raise SourceError(f"{path.name} is a TorchScript archive: use openai:{path.name}")
    else:
        document = read_torch(path)
        state = tensors_only(document.get("state_dict", document), path)
    if all(name.startswith("module.") for name in state):  # saved from a distributed run
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    # open_clip's CustomTextCLIP keeps the same text tower in a module of its own; the mask is a constant.
    state = {name.removeprefix("text."): tensor for name, tensor in state.items()}
    state.pop("attn_mask", None)
    return _Raw(state, path, *open_clip_activation(path, activation))


def hugging_face_weights(folder: Path) -> Path:
    """The folder's weights file."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise SourceError(f"{folder.name} has no model.safetensors and no pytorch_model.bin (shards are not read)")


def read_hugging_face(folder: Path, activation: str | None) -> _Raw:
    """A CLIP folder: other names, projections transposed, query, key and value apart."""
    del activation
    weights = hugging_face_weights(folder)
    try:
        document = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as fault:
        raise SourceError(f"config.json: {first_line(fault)}") from fault
    stated, heads = hugging_face_config(document)
    if weights.suffix == ".safetensors":
        named = read_safetensors(weights)
    else:
        named = tensors_only(read_torch(weights), weights)
    return _Raw(hugging_face_state(named), weights, stated.activation, "config.json", heads, stated)


def hugging_face_config(document: dict) -> tuple[ClipConfig, tuple[int, int]]:
    """Sizes and activation of a `config.json`; what it leaves out is transformers' default."""
    if document.get("model_type") != "clip":
        raise SourceError(f"config.json: model_type is {document.get('model_type')!r}, want 'clip'")
    parts = {}
    for part in ("text_config", "vision_config"):
        # The longer name is an older form that wins where both are given.
        parts[part] = {**(document.get(part) or {}), **(document.get(f"{part}_dict") or {})}
    text, vision = parts["text_config"], parts["vision_config"]
    activations = {values.get("hidden_act", "quick_gelu") for values in (text, vision)}
    if len(activations) != 1 or not activations <= ACTIVATIONS.keys():
        raise SourceError(f"config.json: hidden_act is {sorted(activations)}, want one of {sorted(ACTIVATIONS)} for both")
    epsilons = {values.get("layer_norm_eps", LAYER_NORM_EPS) for values in (text, vision)}
    if epsilons != {LAYER_NORM_EPS}:
        raise SourceError(f"config.json: layer_norm_eps is {sorted(epsilons)}, want {LAYER_NORM_EPS}")
    heads = vision.get("num_attention_heads", 12), text.get("num_attention_heads", 8)
    config = ClipConfig(
        VisionConfig(
            vision.get("hidden_size", 768),
            vision.get("num_hidden_layers", 12),
            heads[0],
            vision.get("patch_size", 32),
            vision.get("image_size", 224),
        ),
        TextConfig(
            text.get("hidden_size", 512),
            text.get("num_hidden_layers", 12),
            heads[1],
            text.get("max_position_embeddings", 77),
            text.get("vocab_size", 49408),
        ),
        document.get("projection_dim", 512),
        activations.pop(),
    )
    return config, heads


HUGGING_FACE_NAMES = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # their spelling
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}
HUGGING_FACE_PROJECTIONS = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
# Counting indices 0, 1, 2, ... that older versions saved.
HUGGING_FACE_INDICES = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
HUGGING_FACE_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_BLOCK = re.compile(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_QUERY_KEY_VALUE = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def hugging_face_state(named: State) -> State:
    """Tensors under OpenAI's names. What has no counterpart keeps its name, and is reported later."""
    state: State = {}
    thirds: dict[str, dict[str, Tensor]] = {}
    for name, tensor in named.items():
        block = _BLOCK.fullmatch(name)
        if name in HUGGING_FACE_NAMES:
            state[HUGGING_FACE_NAMES[name]] = tensor
        elif name in HUGGING_FACE_PROJECTIONS:
            state[HUGGING_FACE_PROJECTIONS[name]] = tensor.T.contiguous()
        elif block is not None and block[3] in (*HUGGING_FACE_BLOCK, *_QUERY_KEY_VALUE):
            tower = "visual.transformer" if block[1] == "vision" else "transformer"
            prefix = f"{tower}.resblocks.{block[2]}"
            if block[3] in HUGGING_FACE_BLOCK:
                state[f"{prefix}.{HUGGING_FACE_BLOCK[block[3]]}.{block[4]}"] = tensor
            else:
                thirds.setdefault(f"{prefix}.attn.in_proj_{block[4]}", {})[block[3]] = tensor
        elif name not in HUGGING_FACE_INDICES:
            state[name] = tensor
    for name, parts in thirds.items():
        missing = [part for part in _QUERY_KEY_VALUE if part not in parts]
        if missing:
            raise SourceError(f"missing: {listed(missing)} of {name}")
        state[name] = torch.cat([parts[part] for part in _QUERY_KEY_VALUE])
    return state


DEMO_FILE = "pretrain.pt"


def read_demo(folder: Path, activation: str | None) -> _Raw:
    """The state that this package's own pre-training keeps."""
    del activation
    path = folder / DEMO_FILE
    if not path.is_file():
        raise SourceError(f"{folder.name} has no {DEMO_FILE}: is it the run folder of agiqa-train demo-small?")
    document = read_torch(path)
    if not isinstance(document.get("clip"), dict):
        raise SourceError(f"{DEMO_FILE} has no part 'clip'")
    return _Raw(tensors_only(document["clip"], path), path, "quick_gelu", "the demo's architecture")


READERS = {"openai": read_openai, "hf": read_hugging_face, "open_clip": read_open_clip, "demo": read_demo}


# From tensors to a model.


def infer_config(state: State, activation: str, heads: tuple[int, int] | None) -> ClipConfig:
    """Sizes from the shapes of a state with OpenAI's names; raises SourceError."""
    if any(name.startswith("visual.layer1.") for name in state):
        raise SourceError("the image tower is a ResNet; only vision transformers are served")
    patches = shape_of(state, "visual.conv1.weight", 4)
    positions = shape_of(state, "visual.positional_embedding", 2)
    text_positions = shape_of(state, "positional_embedding", 2)
    vocabulary = shape_of(state, "token_embedding.weight", 2)
    projection = shape_of(state, "text_projection", 2)
    width, text_width = patches[0], projection[0]
    grid = round((positions[0] - 1) ** 0.5)
    if grid * grid + 1 != positions[0]:
        raise SourceError(f"visual.positional_embedding has {positions[0]} rows, want a square number and one")
    if heads is None:
        for name, size in (("visual.conv1.weight", width), ("text_projection", text_width)):
            if size % HEAD_WIDTH != 0:
                raise SourceError(f"{name} has width {size}, want a multiple of {HEAD_WIDTH}, the width of a head")
        heads = width // HEAD_WIDTH, text_width // HEAD_WIDTH
    for name, size, count in (("image", width, heads[0]), ("text", text_width, heads[1])):
        if count < 1 or size % count != 0:
            raise SourceError(f"{name} width {size} cannot be split over {count} heads")
    token_dim = vocabulary[1] if "token_projection" in state else None
    return ClipConfig(
        VisionConfig(width, count_blocks(state, "visual.transformer"), heads[0], patches[2], grid * patches[2]),
        TextConfig(
            text_width, count_blocks(state, "transformer"), heads[1], text_positions[0], vocabulary[0], token_dim
        ),
        projection[1],
        activation,
    )


def shape_of(state: State, name: str, dimensions: int) -> tuple[int, ...]:
    """Shape of a tensor that sizes are taken from."""
    if name not in state:
        raise SourceError(f"missing: {name} (the file has {listed(sorted(state)) or 'no tensor'})")
    shape = tuple(state[name].shape)
    if len(shape) != dimensions:
        raise SourceError(f"wrong shape: {name} has {list(shape)}, want {dimensions} dimensions")
    return shape


def count_blocks(state: State, tower: str) -> int:
    """Number of blocks: one more than the highest index, so that a gap shows as missing tensors."""
    indices = [int(m[1]) for name in state if (m := re.match(rf"{re.escape(tower)}\.resblocks\.(\d+)\.", name))]
    if not indices:
        raise SourceError(f"missing: every tensor of {tower}.resblocks")
    if max(indices) > 200:
        raise SourceError(f"{tower}.resblocks.{max(indices)}: no CLIP has that many blocks")
    return max(indices) + 1


def check_stated(stated: ClipConfig, found: ClipConfig) -> None:
    """Compares the sizes that a configuration states with those of its tensors."""
    faults = []
    for part in ("vision", "text"):
        wanted, actual = stated.to_dict()[part], found.to_dict()[part]
        faults += [f"{part}.{k} is {wanted[k]}, tensors say {actual[k]}" for k in wanted if wanted[k] != actual[k]]
    if stated.embed_dim != found.embed_dim:
        faults.append(f"projection_dim is {stated.embed_dim}, tensors say {found.embed_dim}")
    if faults:
        raise SourceError("config.json: " + "; ".join(faults))


def build(state: State, config: ClipConfig) -> Clip:
    """The model with exactly these tensors, in float32; raises SourceError with every fault."""
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in Clip(config).state_dict().items()}
    missing = sorted(wanted.keys() - state.keys())
    unexpected = sorted(state.keys() - wanted.keys())
    wrong = [
        f"{name} has {list(state[name].shape)}, want {list(shape)}"
        for name, shape in wanted.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    odd = [
        name
        for name in wanted.keys() & state.keys()
        if not state[name].is_floating_point() or not bool(torch.isfinite(state[name]).all())
    ]
    faults = [
        f"{kind}: {listed(names)}"
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("wrong shape", wrong),
            ("not finite numbers", sorted(odd)),
        )
        if names
    ]
    if faults:
        raise SourceError("; ".join(faults))
    clip = Clip(config)
    clip.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return clip.eval()
