"""Writes a CLIP of ViT-B/16's shape with random weights, and two checkpoints on it, for benchmarks.

What a server costs depends on the shape of the numbers, not on what they say. The weights are drawn anew
from a seed, 0.6 GB of them, and are kept out of the repository.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from published import VIT_B_16, hugging_face_model, open_clip_model
from transformers.utils import logging as transformers_logging

from . import reference
from .__main__ import SEED, install_checkpoints, make_checkpoints, quietly, write_images


def write(out: Path) -> None:
    """`out`/model_repository and `out`/checkpoints, as a server's settings name them."""
    with tempfile.TemporaryDirectory(prefix="agiqa-vit-") as name:
        work = Path(name)
        source = work / "hf"
        hugging_face_model(VIT_B_16, "quick_gelu", SEED).save_pretrained(source)
        repository = work / "model_repository"
        quietly(["export-encoders", "--source", f"hf:{source}", "--out", str(repository)])
        images = reference.tensors(write_images(work))
        trained = make_checkpoints(open_clip_model(VIT_B_16, "quick_gelu", SEED + 2), images)
        bundles = install_checkpoints(trained, repository, work)
        out.mkdir(parents=True, exist_ok=True)
        for folder in (bundles, repository):  # the repository last: it says that all is there
            shutil.rmtree(out / folder.name, ignore_errors=True)
            shutil.move(folder, out / folder.name)


def main() -> int:
    """Entry point; the exit status."""
    parser = argparse.ArgumentParser(prog="fidelity.vit", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    transformers_logging.disable_progress_bar()
    write(args.out.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
