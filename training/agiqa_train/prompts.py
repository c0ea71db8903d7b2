"""Learned prompts: context vectors and category names to what the text encoder takes.

A prompt reads `X X ... X <name>.`; the embeddings of the X's are the learned context. The class
token position follows CoOp (Zhou et al., arXiv 2109.01134): end, middle or front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .tokenizer import CONTEXT_LENGTH, END_OF_TEXT, START_OF_TEXT, Tokenizer

CATEGORIES = ("terrible", "bad", "poor", "average", "good", "perfect")
POSITIONS = ("end", "middle", "front")
PLACEHOLDER = "X"


@dataclass(frozen=True)
class PromptLayout:
    """Where each prompt takes a context vector, and the ids everywhere else."""

    token_ids: np.ndarray  # int32 [C, 77]
    slots: np.ndarray  # int64 [C, 77]: index of the context vector at this position, -1 for none

    @property
    def context_mask(self) -> np.ndarray:
        """uint8 [C, 77]: 1 where a context vector replaces the token's own embedding."""
        return (self.slots >= 0).astype(np.uint8)


def prompt_layout(
    tokenizer: Tokenizer,
    categories: tuple[str, ...] = CATEGORIES,
    context_length: int = 16,
    position: str = "end",
) -> PromptLayout:
    """Token ids and context slots of every category, in the order given."""
    if position not in POSITIONS:
        raise ValueError(f"class_token_position: {position!r} is not one of {', '.join(POSITIONS)}")
    (placeholder,) = tokenizer.encode(PLACEHOLDER)
    stop = tokenizer.encode(".")
    before = {"end": context_length, "middle": context_length // 2, "front": 0}[position]
    ids = np.zeros((len(categories), CONTEXT_LENGTH), dtype=np.int32)
    slots = np.full((len(categories), CONTEXT_LENGTH), -1, dtype=np.int64)
    for row, category in enumerate(categories):
        name = tokenizer.encode(category)
        prompt = [START_OF_TEXT, *[placeholder] * before, *name]
        prompt += [*[placeholder] * (context_length - before), *stop, END_OF_TEXT]
        if len(prompt) > CONTEXT_LENGTH:
            raise ValueError(f"categories: the prompt of {category!r} has {len(prompt)} tokens, {CONTEXT_LENGTH} fit")
        ids[row, : len(prompt)] = prompt
        slots[row, 1 : 1 + before] = np.arange(before)
        after = 1 + before + len(name)
        slots[row, after : after + context_length - before] = np.arange(before, context_length)
    return PromptLayout(ids, slots)


def place_context(layout: PromptLayout, context: np.ndarray) -> np.ndarray:
    """Context [16, W] (shared) or [C, 16, W] (class-specific) to float32 [C, 77, W], zero elsewhere."""
    count = layout.slots.shape[0]
    vectors = np.broadcast_to(context, (count, *context.shape[-2:]))
    placed = np.zeros((count, CONTEXT_LENGTH, context.shape[-1]), dtype=np.float32)
    rows, columns = np.nonzero(layout.slots >= 0)
    placed[rows, columns] = vectors[rows, layout.slots[rows, columns]]
    return placed
