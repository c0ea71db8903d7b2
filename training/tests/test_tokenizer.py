"""Ids known from CLIP's own tokenizer."""

from __future__ import annotations

import pytest

from agiqa_train.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("X", [343]),
        (".", [269]),
        ("  A  PHOTO ", [320, 1125]),
        ("", []),
        ("&amp;", [261]),
    ],
)
def test_encode(text: str, want: list[int]) -> None:
    assert Tokenizer().encode(text) == want


def test_pad_keeps_the_end() -> None:
    row = Tokenizer().pad(list(range(1, 100)), 10)
    assert row.tolist() == [49406, 1, 2, 3, 4, 5, 6, 7, 8, 49407]
