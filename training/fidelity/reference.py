"""CLIP-AGIQA written down a second time: Pillow, torchvision, open_clip and plain PyTorch.

It follows the paper (arXiv 2408.15098) and CLIP's published preprocessing, and shares no line with
`agiqa_train`. The context vectors stand between start of text and the class name (`end`), around
it (`middle`) or after it (`front`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

CATEGORIES = ("terrible", "bad", "poor", "average", "good", "perfect")
TO_224 = transforms.Compose(
    [transforms.Resize(224, transforms.InterpolationMode.BICUBIC, antialias=True), transforms.CenterCrop(224)]
)
TO_TENSOR = transforms.Compose(
    [
        transforms.ToTensor(),
        transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    ]
)


def pixels(file: Path) -> np.ndarray:
    """What the model sees of a file, uint8 [224, 224, 3]."""
    return np.asarray(TO_224(Image.open(file).convert("RGB")))


def tensors(files: list[Path]) -> Tensor:
    """Normalised images [N, 3, 224, 224]."""
    return torch.stack([TO_TENSOR(TO_224(Image.open(file).convert("RGB"))) for file in files])


def tokens(texts: list[str]) -> Tensor:
    """Token ids [N, 77] by open_clip's tokenizer."""
    return open_clip.tokenize(texts)


@torch.no_grad()
def prompt_features(model: nn.Module, context: Tensor, position: str) -> Tensor:
    """Learned context [L, W] or [6, L, W] to the six unit text features."""
    length = context.shape[-2]
    ids = tokens([" ".join(["X"] * length) + f" {name}." for name in CATEGORIES])
    embedded = model.token_embedding(ids)
    if context.ndim == 2:
        context = context.expand(len(CATEGORIES), -1, -1)
    prompts = []
    for i in range(len(CATEGORIES)):
        start, rest = embedded[i, :1], embedded[i, 1 + length :]
        # Behind the X's: the name, ".", end of text, zeros. All names are one token or more.
        name = int(ids[i].argmax()) - 1 - length - 1
        before = {"end": length, "middle": length // 2, "front": 0}[position]
        prompts.append(torch.cat([start, context[i, :before], rest[:name], context[i, before:], rest[name:]]))
    x = torch.stack(prompts) + model.positional_embedding
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
    features = x[torch.arange(len(x)), ids.argmax(dim=-1)] @ model.text_projection
    return features / features.norm(dim=-1, keepdim=True)


@torch.no_grad()
def scores(model: nn.Module, context: Tensor, position: str, head: nn.Module, images: Tensor) -> np.ndarray:
    """Images [N, 3, 224, 224] to scores [N]."""
    features = model.encode_image(images, normalize=True)
    texts = prompt_features(model, context, position)
    joined = torch.cat([features[:, None], texts.expand(len(features), -1, -1)], dim=1).flatten(1)
    return head.eval()(joined)[:, 0].numpy()
