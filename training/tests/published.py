"""CLIP weights in the forms in which others publish them, random and from other people's code.

Nothing here uses `agiqa_train`: the models come from transformers and open_clip, so that what the
loaders make of their files can be held against them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

VOCABULARY = 49408


@dataclass(frozen=True)
class Sizes:
    """Of both towers; heads are 64 wide, as in every published model."""

    width: int = 128
    layers: int = 2
    patch: int = 32
    text_width: int = 64
    text_layers: int = 2
    embed_dim: int = 32


TINY = Sizes()
VIT_B_16 = Sizes(768, 12, 16, 512, 12, 512)


def randomize(model: nn.Module, seed: int) -> nn.Module:
    """Fills every parameter, also those that initialise to 0 or 1, so that mixing two up shows.

    Linear maps keep the size of what goes through them; the vocabulary and the positions have the
    size of a trained model's.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 0:
                continue  # the logit scale takes no part in an embedding
            if "token_embedding" in name:
                parameter.copy_(0.05 * noise)
            elif "positional" in name or "position_embedding" in name or "class_embedding" in name:
                parameter.copy_(0.05 * noise)
            elif parameter.ndim == 1:
                norm = "ln_" in name or "norm" in name
                parameter.copy_((1.0 if norm and name.endswith("weight") else 0.0) + 0.1 * noise)
            else:
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
                parameter.copy_(noise * fan_in**-0.5)
    return model.eval()


def open_clip_model(sizes: Sizes, activation: str, seed: int) -> nn.Module:
    """open_clip's CLIP."""
    model = open_clip.CLIP(
        embed_dim=sizes.embed_dim,
        vision_cfg={"image_size": 224, "layers": sizes.layers, "width": sizes.width, "patch_size": sizes.patch},
        text_cfg={
            "context_length": 77,
            "vocab_size": VOCABULARY,
            "width": sizes.text_width,
            "heads": sizes.text_width // 64,
            "layers": sizes.text_layers,
        },
        quick_gelu=activation == "quick_gelu",
    )
    return randomize(model, seed)


def hugging_face_model(sizes: Sizes, activation: str, seed: int) -> CLIPModel:
    """transformers' CLIP."""
    config = CLIPConfig(
        text_config={
            "hidden_size": sizes.text_width,
            "intermediate_size": 4 * sizes.text_width,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_width // 64,
            "projection_dim": sizes.embed_dim,
            "hidden_act": activation,
        },
        vision_config={
            "hidden_size": sizes.width,
            "intermediate_size": 4 * sizes.width,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.width // 64,
            "projection_dim": sizes.embed_dim,
            "patch_size": sizes.patch,
            "hidden_act": activation,
        },
        projection_dim=sizes.embed_dim,
    )
    return randomize(CLIPModel(config), seed)


class _Holder(nn.Module):
    """A module that scripts, and has whatever parameters it is given."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


def save_openai_archive(state: dict[str, Tensor], path: Path) -> None:
    """A TorchScript archive as OpenAI's: the same names, float16, and the three sizes as buffers."""
    root = _Holder()
    for name, tensor in state.items():
        module = root
        *folders, last = name.split(".")
        for folder in folders:
            if not hasattr(module, folder):
                module.add_module(folder, _Holder())
            module = getattr(module, folder)
        module.register_parameter(last, nn.Parameter(tensor.half(), requires_grad=False))
    for name, size in (("input_resolution", 224), ("context_length", 77), ("vocab_size", VOCABULARY)):
        root.register_buffer(name, torch.tensor(size))
    torch.jit.save(torch.jit.script(root), str(path))


@torch.no_grad()
def open_clip_embeddings(model: nn.Module, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Unit embeddings of normalised images and token ids, by open_clip."""
    return model.encode_image(images, normalize=True), model.encode_text(tokens, normalize=True)


@torch.no_grad()
def hugging_face_embeddings(model: CLIPModel, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Unit embeddings of normalised images and token ids, by transformers."""
    output = model(input_ids=tokens, pixel_values=images)
    return output.image_embeds, output.text_embeds
