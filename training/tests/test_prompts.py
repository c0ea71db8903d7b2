"""Where the context stands, and that every category has its name and end in place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agiqa_train.clip import Clip
from agiqa_train.prompt_head import PromptHeadConfig, PromptLearner
from agiqa_train.prompts import CATEGORIES, place_context, prompt_layout
from agiqa_train.tokenizer import Tokenizer

NAME = {"end": 17, "middle": 9, "front": 1}


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_layout(position: str) -> None:
    tokenizer = Tokenizer()
    layout = prompt_layout(tokenizer, position=position)
    assert layout.token_ids.shape == (6, 77) and layout.token_ids.dtype == np.int32
    for row, category in enumerate(CATEGORIES):
        assert layout.token_ids[row, NAME[position]] == tokenizer.encode(category)[0]
        assert layout.token_ids[row, [0, 18, 19]].tolist() == [49406, 269, 49407]
        assert not layout.token_ids[row, 20:].any()
        used = layout.slots[row][layout.slots[row] >= 0]
        assert used.tolist() == list(range(16))
        assert layout.context_mask[row, NAME[position]] == 0


def test_place_context_shared_and_class_specific() -> None:
    layout = prompt_layout(Tokenizer())
    shared = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    placed = place_context(layout, shared)
    np.testing.assert_array_equal(placed[3, 1:17], shared)
    assert not placed[:, 17:].any() and not placed[:, 0].any()
    specific = np.stack([shared + i for i in range(6)])
    np.testing.assert_array_equal(place_context(layout, specific)[5, 1:17], shared + 5)


def test_unknown_position_is_refused() -> None:
    with pytest.raises(ValueError, match="class_token_position"):
        prompt_layout(Tokenizer(), position="start")


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [True, False])
def test_the_learner_agrees_with_the_placed_context(tiny: Clip, position: str, class_specific: bool) -> None:
    layout = prompt_layout(Tokenizer(), position=position)
    config = PromptHeadConfig(class_specific=class_specific, class_token_position=position)
    learner = PromptLearner(tiny, layout, config)
    placed = torch.from_numpy(place_context(layout, learner.context.detach().numpy()))
    ids, mask = torch.from_numpy(layout.token_ids), torch.from_numpy(layout.context_mask)
    with torch.no_grad():
        torch.testing.assert_close(learner(), tiny.encode_text(ids, placed, mask))
