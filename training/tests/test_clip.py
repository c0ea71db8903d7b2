"""The architecture: names and shapes of OpenAI's state dict, causality, dropped patches."""

from __future__ import annotations

import torch

from agiqa_train.clip import Clip, ClipConfig, TextConfig, VisionConfig


def test_defaults_have_the_shapes_of_vit_b_16() -> None:
    with torch.device("meta"):
        state = Clip(ClipConfig()).state_dict()
    want = {
        "visual.conv1.weight": (768, 3, 16, 16),
        "visual.class_embedding": (768,),
        "visual.positional_embedding": (197, 768),
        "visual.transformer.resblocks.11.attn.in_proj_weight": (2304, 768),
        "visual.transformer.resblocks.11.mlp.c_fc.weight": (3072, 768),
        "visual.proj": (768, 512),
        "token_embedding.weight": (49408, 512),
        "positional_embedding": (77, 512),
        "transformer.resblocks.11.attn.out_proj.bias": (512,),
        "ln_final.weight": (512,),
        "text_projection": (512, 512),
        "logit_scale": (),
    }
    for name, shape in want.items():
        assert tuple(state[name].shape) == shape, name
    assert len(state) == 302  # as many as OpenAI's ViT-B-16 has, without its three size entries
    assert "visual.conv1.bias" not in state


def test_config_survives_json() -> None:
    config = ClipConfig(VisionConfig(width=8), TextConfig(token_dim=3), 5)
    assert ClipConfig.from_dict(config.to_dict()) == config


def test_keeping_every_patch_is_keeping_none_out(tiny: Clip) -> None:
    pixels = torch.randn(2, 3, 224, 224)
    keep = torch.arange(tiny.config.vision.patches).expand(2, -1)
    torch.testing.assert_close(tiny.encode_image(pixels, keep), tiny.encode_image(pixels))


def test_shorter_token_rows_give_the_same_feature(tiny: Clip) -> None:
    ids = torch.zeros(1, 77, dtype=torch.int64)
    ids[0, :4] = torch.tensor([49406, 320, 1125, 49407])
    torch.testing.assert_close(tiny.encode_text(ids), tiny.encode_text(ids[:, :6]))


def test_embeddings_are_unit_vectors(tiny: Clip) -> None:
    torch.testing.assert_close(tiny.encode_image(torch.randn(3, 3, 224, 224)).norm(dim=1), torch.ones(3))
