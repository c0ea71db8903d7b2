"""The CLIP architecture (Radford et al. 2021, arXiv 2103.00020), sized by a dataclass.

Parameter names and shapes follow OpenAI's state dict, so that true ViT-B/16 weights fit once
`text.token_dim` is None; `sources.py` brings the other formats into this form. Two things are ours: a factored token embedding (a small vocabulary table
times a projection) that keeps the demo small, and an explicit attention whose exported graph is
plain MatMul and Softmax.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

LAYER_NORM_EPS = 1e-5
# Finite, so that half precision on a GPU can hold it; exp(-1e4) is exactly 0 in float32.
MASKED_LOGIT = -1e4


@dataclass(frozen=True)
class VisionConfig:
    """Sizes of the image transformer."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    patch: int = 16
    resolution: int = 224

    @property
    def patches(self) -> int:
        """Patches of one image, without the class token."""
        return (self.resolution // self.patch) ** 2


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the text transformer. `token_dim` factors the token embedding; None: not factored."""

    width: int = 512
    layers: int = 12
    heads: int = 8
    context_length: int = 77
    vocab_size: int = 49408
    token_dim: int | None = None


@dataclass(frozen=True)
class ClipConfig:
    """Both towers and the shared dimension. The defaults are OpenAI's ViT-B/16."""

    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    embed_dim: int = 512
    activation: str = "quick_gelu"  # or "gelu": weights trained with one are wrong with the other

    def to_dict(self) -> dict:
        """Plain JSON-ready form."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict) -> ClipConfig:
        """Inverse of `to_dict`."""
        vision, text = VisionConfig(**values["vision"]), TextConfig(**values["text"])
        return ClipConfig(vision, text, values["embed_dim"], values.get("activation", "quick_gelu"))


def demo_config() -> ClipConfig:
    """The small encoder of the demo: 9.4 MB once its weights are stored as float16."""
    return ClipConfig(
        vision=VisionConfig(width=192, layers=6, heads=3),
        text=TextConfig(width=128, layers=2, heads=2, token_dim=28),
        embed_dim=128,
    )


def l2_normalize(x: Tensor) -> Tensor:
    """Unit vectors along the last axis."""
    return x / x.norm(dim=-1, keepdim=True)


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation OpenAI trained with; not the exact GELU."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, type[nn.Module]] = {"quick_gelu": QuickGELU, "gelu": nn.GELU}


class Attention(nn.Module):
    """Multi-head self-attention, [N, L, W] to [N, L, W]; parameters named as nn.MultiheadAttention's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        # int() keeps lengths as constants in an exported graph: only the batch is dynamic there.
        length, width = int(x.shape[1]), int(x.shape[2])
        size = width // self.heads
        qkv = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (
            part.reshape(-1, length, self.heads, size).transpose(1, 2) for part in qkv.split(width, dim=-1)
        )
        if not torch.onnx.is_in_onnx_export():
            out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            logits = (q * size**-0.5) @ k.transpose(-2, -1)
            if mask is not None:
                logits = logits + mask
            out = torch.softmax(logits, dim=-1) @ v
        return self.out_proj(out.transpose(1, 2).reshape(-1, length, width))


class Mlp(nn.Module):
    """Width to four times the width and back."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.gelu = ACTIVATIONS[activation]()
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.gelu(self.c_fc(x)))


class Block(nn.Module):
    """Pre-norm residual block."""

    def __init__(self, width: int, heads: int, activation: str) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width, activation)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """A stack of blocks, initialised as in OpenAI's code."""

    def __init__(self, width: int, layers: int, heads: int, activation: str) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, activation) for _ in range(layers))
        attn_std = width**-0.5
        proj_std = attn_std * (2 * layers) ** -0.5
        for block in self.resblocks:
            nn.init.normal_(block.attn.in_proj_weight, std=attn_std)
            nn.init.normal_(block.attn.out_proj.weight, std=proj_std)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=proj_std)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class VisionTower(nn.Module):
    """Normalised pixels float [N, 3, R, R] to unprojected-norm features [N, D] (not yet unit length)."""

    def __init__(self, config: VisionConfig, embed_dim: int, activation: str) -> None:
        super().__init__()
        width = config.width
        self.conv1 = nn.Conv2d(3, width, config.patch, stride=config.patch, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(config.patches + 1, width))
        self.ln_pre = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.transformer = Transformer(width, config.layers, config.heads, activation)
        self.ln_post = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, embed_dim))

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """`keep` int64 [N, K]: the patches to look at (training only); None: all of them."""
        x = self.conv1(x).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(x.shape[0], 1, -1)
        x = torch.cat([first, x], dim=1) + self.positional_embedding
        if keep is not None:
            rows = nn.functional.pad(keep + 1, (1, 0))  # the class token, row 0, always stays
            x = x.gather(1, rows[:, :, None].expand(-1, -1, x.shape[2]))
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj


class TextTower(nn.Module):
    """The text transformer. Its parameters sit at the top level, as in OpenAI's state dict."""

    def __init__(self, text: TextConfig, embed_dim: int, activation: str = "quick_gelu") -> None:
        super().__init__()
        self.text, self.embed_dim = text, embed_dim
        self.token_embedding = nn.Embedding(text.vocab_size, text.token_dim or text.width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.token_projection = None
        if text.token_dim is not None:
            self.token_projection = nn.Parameter(text.token_dim**-0.5 * torch.randn(text.token_dim, text.width))
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(text.context_length, text.width))
        self.transformer = Transformer(text.width, text.layers, text.heads, activation)
        self.ln_final = nn.LayerNorm(text.width, eps=LAYER_NORM_EPS)
        self.text_projection = nn.Parameter(text.width**-0.5 * torch.randn(text.width, embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(2.6593))  # ln(1 / 0.07)
        mask = torch.full((text.context_length, text.context_length), MASKED_LOGIT).triu_(1)
        self.register_buffer("causal_mask", mask, persistent=False)

    def embed_tokens(self, token_ids: Tensor) -> Tensor:
        """Token ids [N, L] to embeddings [N, L, W], positions not yet added."""
        x = self.token_embedding(token_ids)
        return x if self.token_projection is None else x @ self.token_projection

    def encode_text(
        self, token_ids: Tensor, context: Tensor | None = None, context_mask: Tensor | None = None
    ) -> Tensor:
        """Token ids [N, L] (L <= context length) to unit vectors [N, D].

        Where `context_mask` [N, L] is not 0, the embedding is taken from `context` [N, L, W] and the
        id there is ignored, except by the search for the end of the text.
        """
        x = self.embed_tokens(token_ids)
        if context is not None and context_mask is not None:
            x = torch.where((context_mask != 0)[:, :, None], context, x)
        length = int(token_ids.shape[1])
        x = x + self.positional_embedding[:length]
        x = self.ln_final(self.transformer(x, self.causal_mask[:length, :length]))
        # End of text has the highest id. Ids are shifted so that it becomes 0 and start of text -1:
        # the argmax is the same, and stays right when an engine compares in half precision, where
        # 49406 and 49407 are one number.
        end = (token_ids - (self.text.vocab_size - 1)).argmax(dim=-1, keepdim=True)
        at_end = (torch.arange(length, device=x.device) == end).to(x.dtype)
        features = (at_end[:, None, :] @ x)[:, 0]
        return l2_normalize(features @ self.text_projection)


class Clip(TextTower):
    """Both towers."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__(config.text, config.embed_dim, config.activation)
        self.config = config
        self.visual = VisionTower(config.vision, config.embed_dim, config.activation)

    def encode_image(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Normalised pixels float [N, 3, R, R] to unit vectors [N, D]."""
        return l2_normalize(self.visual(pixels, keep))
