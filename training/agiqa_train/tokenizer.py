"""CLIP's byte-pair tokenizer, for training only.

The merges come from `bpe_simple_vocab_16e6.txt.gz`, which the open_clip_torch package carries. The
file is found without importing that package (its import costs seconds and is not needed).
"""

from __future__ import annotations

import gzip
import html
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import ftfy
import numpy as np
import regex

START_OF_TEXT = 49406
END_OF_TEXT = 49407
CONTEXT_LENGTH = 77
MERGES = 49152 - 256 - 2

_WORDS = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    regex.IGNORECASE,
)


def vocabulary_path() -> Path:
    """Where open_clip_torch keeps CLIP's merges."""
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("open_clip_torch is not installed: it carries the CLIP vocabulary")
    return Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz"


def byte_symbols() -> dict[int, str]:
    """GPT-2's map of every byte to a printable character."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    symbols = {byte: chr(byte) for byte in printable}
    extra = (byte for byte in range(256) if byte not in symbols)
    symbols.update({byte: chr(256 + i) for i, byte in enumerate(extra)})
    return symbols


class Tokenizer:
    """Text to CLIP token ids."""

    def __init__(self, vocabulary: Path | None = None) -> None:
        text = gzip.open(vocabulary or vocabulary_path(), "rt", encoding="utf-8").read()
        merges = [tuple(line.split()) for line in text.split("\n")[1 : MERGES + 1]]
        self._bytes = byte_symbols()
        singles = list(self._bytes.values())
        entries = [*singles, *(s + "</w>" for s in singles), *("".join(m) for m in merges)]
        self._ids = {entry: i for i, entry in enumerate([*entries, "<|startoftext|>", "<|endoftext|>"])}
        self._ranks = {merge: rank for rank, merge in enumerate(merges)}
        self._word = lru_cache(maxsize=8192)(self._merge)

    def _merge(self, word: str) -> tuple[int, ...]:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:]))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            merged, i = [], 0
            while i < len(parts):
                if i + 1 < len(parts) and (parts[i], parts[i + 1]) == best:
                    merged.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            parts = merged
        return tuple(self._ids[part] for part in parts)

    def encode(self, text: str) -> list[int]:
        """Ids of the text alone, without start and end."""
        clean = html.unescape(html.unescape(ftfy.fix_text(text)))
        clean = " ".join(clean.split()).strip().lower()
        ids: list[int] = []
        for word in _WORDS.findall(clean):
            ids.extend(self._word("".join(self._bytes[byte] for byte in word.encode("utf-8"))))
        return ids

    def pad(self, ids: list[int], length: int = CONTEXT_LENGTH) -> np.ndarray:
        """Start + ids + end, zero padded (or cut, keeping the end) to int32 [length]."""
        row = np.zeros(length, dtype=np.int32)
        whole = [START_OF_TEXT, *ids[: length - 2], END_OF_TEXT]
        row[: len(whole)] = whole
        return row

    def __call__(self, texts: list[str], length: int = CONTEXT_LENGTH) -> np.ndarray:
        """Texts to int32 [N, length]."""
        return np.stack([self.pad(self.encode(text), length) for text in texts])
