"""Published weights are read as transformers and open_clip read them, or refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from published import (
    TINY,
    hugging_face_embeddings,
    hugging_face_model,
    open_clip_embeddings,
    open_clip_model,
    save_openai_archive,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from agiqa_train.clip import Clip, ClipConfig, TextConfig, VisionConfig, demo_config
from agiqa_train.digest import file_sha256
from agiqa_train.pretrain import Pretrainer, PretrainConfig
from agiqa_train.sources import SourceError, infer_config, load_clip, source_sha256
from agiqa_train.tokenizer import Tokenizer

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.from_numpy(Tokenizer()(["a good photo", "terrible.", "an owl that is writing a long letter"])).long()


def difference(clip: Clip, want: tuple[Tensor, Tensor], images: Tensor, tokens: Tensor) -> float:
    """Largest absolute difference of image and text embeddings."""
    with torch.no_grad():
        got = clip.encode_image(images), clip.encode_text(tokens)
    return max(float((a - b).abs().max()) for a, b in zip(got, want))


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_open_clip(tmp_path: Path, images: Tensor, tokens: Tensor, activation: str, suffix: str) -> None:
    model = open_clip_model(TINY, activation, 1)
    path = tmp_path / f"weights.{suffix}"
    save_file(model.state_dict(), path) if suffix == "safetensors" else torch.save(model.state_dict(), path)
    clip, info = load_clip(f"open_clip:{path}", activation)
    assert difference(clip, open_clip_embeddings(model, images, tokens), images, tokens) <= 1e-5
    assert (info.format, info.file, info.weights) == ("open_clip", path.name, "float32")
    assert info.sha256 == file_sha256(path) == source_sha256(f"open_clip:{path}")
    other, _ = load_clip(f"open_clip:{path}", "gelu" if activation == "quick_gelu" else "quick_gelu")
    assert difference(other, open_clip_embeddings(model, images, tokens), images, tokens) > 1e-3


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("safe", [True, False])
def test_hugging_face(tmp_path: Path, images: Tensor, tokens: Tensor, activation: str, safe: bool) -> None:
    model = hugging_face_model(TINY, activation, 2)
    model.save_pretrained(tmp_path)
    if not safe:
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
        (tmp_path / "model.safetensors").unlink()
    clip, info = load_clip(f"hf:{tmp_path}")
    assert clip.config.activation == activation
    assert difference(clip, hugging_face_embeddings(model, images, tokens), images, tokens) <= 1e-5
    assert info.activation_from == "config.json" and info.file.startswith(tmp_path.name)


@pytest.mark.parametrize("archive", [True, False])
def test_openai(tmp_path: Path, images: Tensor, tokens: Tensor, archive: bool) -> None:
    model = open_clip_model(TINY, "quick_gelu", 3)
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    path = tmp_path / "ViT-B-32.pt"
    save_openai_archive(state, path) if archive else torch.save(state, path)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    clip, info = load_clip(f"openai:{path}")
    assert clip.config.activation == "quick_gelu" and info.weights == "float16"
    assert difference(clip, open_clip_embeddings(model, images, tokens), images, tokens) <= 1e-5


def test_openai_sizes_must_agree_with_the_tensors(tmp_path: Path) -> None:
    state = open_clip_model(TINY, "quick_gelu", 3).state_dict()
    torch.save({**state, "input_resolution": torch.tensor(256)}, tmp_path / "w.pt")
    with pytest.raises(SourceError, match="input_resolution is 256, but the tensors' shapes say 224"):
        load_clip(f"openai:{tmp_path / 'w.pt'}")


def test_demo_run_folder(tmp_path: Path, tokens: Tensor, images: Tensor) -> None:
    config = ClipConfig(VisionConfig(64, 1, 1, patch=32), TextConfig(64, 1, 1, token_dim=8), 16)
    trainer = Pretrainer(config, PretrainConfig(), Tokenizer())
    trainer.save(tmp_path / "pretrain.pt")
    clip, info = load_clip(f"demo:{tmp_path}")
    assert clip.config == config and info.format == "demo"
    with torch.no_grad():
        want = trainer.clip.encode_image(images), trainer.clip.encode_text(tokens)
    assert difference(clip, want, images, tokens) <= 1e-6


@pytest.mark.parametrize(
    ("name", "beside", "asked", "want"),
    [
        ("model.pt", None, None, ("gelu", "open_clip's default, for the file does not say")),
        ("ViT-B-16-quickgelu.pt", None, None, ("quick_gelu", "the file's name")),
        ("ViT_B_16_QuickGELU.pt", None, "gelu", ("gelu", "--activation")),
        ("model.pt", {"model_cfg": {"quick_gelu": True}}, None, ("quick_gelu", "open_clip_config.json")),
        ("model-quickgelu.pt", {"model_cfg": {"embed_dim": 1}}, None, ("gelu", "open_clip_config.json")),
    ],
)
def test_what_says_the_activation_of_an_open_clip_file(
    tmp_path: Path, name: str, beside: dict | None, asked: str | None, want: tuple[str, str]
) -> None:
    torch.save(open_clip_model(TINY, "gelu", 1).state_dict(), tmp_path / name)
    if beside is not None:
        (tmp_path / "open_clip_config.json").write_text(json.dumps(beside))
    clip, info = load_clip(f"open_clip:{tmp_path / name}", asked)
    assert (clip.config.activation, info.activation_from) == want


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"epoch": 3, "name": "run", "state_dict": state},
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {name if name.startswith("visual") else f"text.{name}": t for name, t in state.items()},
    ],
    ids=["training checkpoint", "distributed", "custom text"],
)
def test_open_clip_wrappings(tmp_path: Path, wrap: Callable[[State], dict]) -> None:
    state = open_clip_model(TINY, "gelu", 1).state_dict()
    torch.save(state, tmp_path / "plain.pt")
    torch.save(wrap(state), tmp_path / "wrapped.pt")
    want, _ = load_clip(f"open_clip:{tmp_path / 'plain.pt'}")
    got, _ = load_clip(f"open_clip:{tmp_path / 'wrapped.pt'}")
    assert all(torch.equal(a, b) for a, b in zip(got.state_dict().values(), want.state_dict().values()))


@pytest.mark.parametrize(
    "config",
    [
        ClipConfig(VisionConfig(768, 12, 12, 32), TextConfig(512, 12, 8), 512),
        ClipConfig(VisionConfig(768, 12, 12, 16), TextConfig(512, 12, 8), 512, "gelu"),
        ClipConfig(VisionConfig(1024, 24, 16, 14), TextConfig(768, 12, 12), 768),
        demo_config(),
    ],
    ids=["ViT-B/32", "ViT-B/16", "ViT-L/14", "demo"],
)
def test_sizes_come_from_shapes(config: ClipConfig) -> None:
    with torch.device("meta"):
        state = Clip(config).state_dict()
    assert infer_config(state, config.activation, None) == config


def without(name: str) -> Callable[[State], State]:
    return lambda state: {key: tensor for key, tensor in state.items() if key != name}


def having(name: str, tensor: Tensor) -> Callable[[State], State]:
    return lambda state: {**state, name: tensor}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("ln_final.bias"), "missing: ln_final.bias"),
        (without("visual.conv1.weight"), "missing: visual.conv1.weight"),
        (without("text_projection"), "missing: text_projection"),
        (having("visual.extra", torch.zeros(1)), "unexpected: visual.extra"),
        (having("visual.layer1.0.conv1.weight", torch.zeros(1)), "ResNet"),
        (having("visual.proj", torch.zeros(128, 31)), r"visual.proj has \[128, 31\], want \[128, 32\]"),
        (having("visual.proj", torch.zeros(128)), "wrong shape: visual.proj"),
        (having("ln_final.weight", torch.full((64,), torch.nan)), "not finite numbers: ln_final.weight"),
        (having("ln_final.weight", torch.ones(64, dtype=torch.int64)), "not finite numbers: ln_final.weight"),
        (having("transformer.resblocks.3.ln_1.bias", torch.zeros(64)), r"missing: transformer.resblocks.2.*and 17 more"),
        (having("transformer.resblocks.999999.ln_1.bias", torch.zeros(64)), "no CLIP has that many"),
        (having("visual.positional_embedding", torch.zeros(51, 128)), "51 rows, want a square number and one"),
        (having("text_projection", torch.zeros(65, 32)), "width 65, want a multiple of 64"),
        (lambda state: {}, "missing: visual.conv1.weight .the file has no tensor"),
        (lambda state: {**state, "epoch": 3}, "epoch are not tensors"),
    ],
)
def test_faults_name_the_tensor(tmp_path: Path, change: Callable[[State], dict], message: str) -> None:
    torch.save(change(open_clip_model(TINY, "gelu", 1).state_dict()), tmp_path / "w.pt")
    with pytest.raises(SourceError, match=message):
        load_clip(f"open_clip:{tmp_path / 'w.pt'}")


def test_one_error_has_every_fault(tmp_path: Path) -> None:
    state = open_clip_model(TINY, "gelu", 1).state_dict()
    del state["ln_final.bias"]
    torch.save({**state, "logit_bias": torch.zeros(()), "visual.ln_post.bias": torch.zeros(3)}, tmp_path / "w.pt")
    with pytest.raises(SourceError) as caught:
        load_clip(f"open_clip:{tmp_path / 'w.pt'}")
    for part in ("w.pt", "missing: ln_final.bias", "unexpected: logit_bias", "visual.ln_post.bias has [3], want [128]"):
        assert part in str(caught.value)


class Danger:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["openai", "open_clip"])
def test_a_pickle_is_not_executed(tmp_path: Path, kind: str) -> None:
    torch.save({"visual.proj": Danger(tmp_path / "touched")}, tmp_path / "w.pt")
    with pytest.raises(SourceError, match="w.pt is not a torch file of tensors alone"):
        load_clip(f"{kind}:{tmp_path / 'w.pt'}")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("kind", ["openai:w.pt", "open_clip:w.pt", "open_clip:w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x80\x02}q\x00."])
def test_damaged_files_are_refused(tmp_path: Path, kind: str, content: bytes) -> None:
    form, name = kind.split(":")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=name):
        load_clip(f"{form}:{tmp_path / name}")


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    save_openai_archive(open_clip_model(TINY, "gelu", 1).state_dict(), path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(SourceError, match="w.pt"):
        load_clip(f"openai:{path}")


def test_an_archive_is_no_open_clip_file(tmp_path: Path) -> None:
    save_openai_archive(open_clip_model(TINY, "gelu", 1).state_dict(), tmp_path / "w.pt")
    with pytest.raises(SourceError, match="use openai:w.pt"):
        load_clip(f"open_clip:{tmp_path / 'w.pt'}")


@pytest.mark.parametrize("source", ["", "w.pt", "zip:w.pt", "openai:", "openai:/no/such/file.pt"])
def test_a_source_that_is_none(source: str) -> None:
    with pytest.raises(SourceError, match="source"):
        load_clip(source)


def edit_config(folder: Path, edit: Callable[[dict], None]) -> None:
    file = folder / "config.json"
    document = json.loads(file.read_text())
    edit(document)
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(model_type="siglip"), "model_type is 'siglip'"),
        (lambda c: c["text_config"].update(hidden_act="gelu"), "hidden_act is .'gelu', 'quick_gelu'"),
        (lambda c: c["text_config"].update(hidden_act="relu"), "hidden_act is"),
        (lambda c: c["vision_config"].update(layer_norm_eps=1e-6), "layer_norm_eps is .1e-06, 1e-05"),
        (lambda c: c["vision_config"].update(num_hidden_layers=3), "vision.layers is 3, tensors say 2"),
        (lambda c: c["vision_config"].update(num_attention_heads=3), "cannot be split over 3 heads"),
        (lambda c: c.update(projection_dim=16), "projection_dim is 16, tensors say 32"),
    ],
)
def test_hugging_face_configuration_must_agree(tmp_path: Path, edit: Callable[[dict], None], message: str) -> None:
    hugging_face_model(TINY, "quick_gelu", 2).save_pretrained(tmp_path)
    edit_config(tmp_path, edit)
    with pytest.raises(SourceError, match=message):
        load_clip(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("vision_model.encoder.layers.1.self_attn.k_proj.weight"),
            "missing: self_attn.k_proj of visual.transformer.resblocks.1.attn.in_proj_weight",
        ),
        (without("visual_projection.weight"), "missing: visual.proj"),
        (having("text_model.extra.weight", torch.zeros(1)), "unexpected: text_model.extra.weight"),
    ],
)
def test_hugging_face_faults_name_the_tensor(tmp_path: Path, change: Callable[[State], State], message: str) -> None:
    hugging_face_model(TINY, "quick_gelu", 2).save_pretrained(tmp_path)
    save_file(change(load_file(tmp_path / "model.safetensors")), tmp_path / "model.safetensors")
    with pytest.raises(SourceError, match=message):
        load_clip(f"hf:{tmp_path}")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no model.safetensors"):
        load_clip(f"hf:{tmp_path}")
    with pytest.raises(SourceError, match="no pretrain.pt"):
        load_clip(f"demo:{tmp_path}")
