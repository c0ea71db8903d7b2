"""`agiqa-train export-checkpoint`: a trained prompt checkpoint to a bundle that the server takes in.

A checkpoint comes from a run folder of this trainer (`--run`) or from a folder of the original
repository (`--original`). Either way it is held against the encoder that it is meant for: shapes
must agree, and its golden cases are computed through that encoder's exported graphs.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from .bundle import Checkpoint, write_bundle
from .digest import encoder_digest
from .drawn import drawn_image
from .exported import embed_images, embed_prompts, embed_texts
from .fitting.run_folder import WEIGHTS, FittedRun, read_json, read_run
from .head import score_numpy
from .meaning import TASK, Meaning, ScoreScale
from .original import read_original
from .preprocess import PILLOW12, RECIPES, to_pixels
from .prompts import POSITIONS
from .sources import SourceError
from .triton_repository import ENCODER_FILE, GENERAL, IMAGE_MODEL, TEXT_MODEL
from .views import View

GOLDEN = 8
# Of the golden cases of a checkpoint that reads prompts, one for each picture.
GOLDEN_PROMPTS = (
    "a red circle on a white ground", "many small squares", "a photo of a cat", "an empty street at night, oil painting",
    "two people who shake hands", "a landscape with mountains, highly detailed", "abstract art", "a bowl of fruit",
)  # fmt: skip
GOLDEN_SIZE = 288  # of the drawn pictures behind the golden cases
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ORIGINAL_FLAGS = ("epoch", "position", "score_min", "score_max", "score_unit", "task", "recipe")
# AGIQA-3K's, the first of the paper's data sets.
ORIGINAL_SCALE = ScoreScale(0, 5, "MOS")


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its flags."""
    command = commands.add_parser("export-checkpoint", help="write a checkpoint bundle from a training run")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, help="run folder of agiqa-train fit")
    source.add_argument("--original", type=Path, help="folder of the original repository: prompt_learner/, regression/")
    command.add_argument("--encoder", type=Path, required=True, help="Triton model repository with the encoders it is for")
    command.add_argument("--name", required=True, help="the checkpoint's name on the server")
    command.add_argument("--out", type=Path, required=True, help="bundle folder; must not exist, or be empty")
    command.add_argument("--epoch", type=int, help="--original: which epoch (default: the best, else the last)")
    command.add_argument("--weights", choices=WEIGHTS, default="last", help="--run: of which epoch (%(default)s)")
    command.add_argument("--position", choices=POSITIONS, help="--original: of the class name (default: end)")
    command.add_argument("--score-min", type=float, help="--original: lower end of the opinion scores (default: 0)")
    command.add_argument("--score-max", type=float, help="--original: upper end (default: 5)")
    command.add_argument("--score-unit", help="--original: the scores' unit (default: MOS)")
    command.add_argument("--task", help="--original: what the scores measure (default: quality)")
    command.add_argument(
        "--recipe", choices=RECIPES, help=f"--original: how its training resized pictures (default: {PILLOW12})"
    )
    command.add_argument("--licence", default="unknown", help="of the weights, for the manifest")
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> dict:
    """The command; returns what it prints. Raises SourceError or ValueError."""
    if not NAME.fullmatch(args.name):
        raise ValueError(f"--name {args.name!r} does not match {NAME.pattern}")
    if args.task is not None and not TASK.fullmatch(args.task):
        raise ValueError(f"--task {args.task!r} does not match {TASK.pattern}")
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise ValueError(f"--out {args.out} exists and is not an empty folder")
    encoder = read_encoder(args.encoder)
    checkpoint = from_original(args) if args.original is not None else from_run(args, encoder)
    checkpoint = replace(checkpoint, encoder_name=encoder["name"], encoder_digest=encoder["digest"])
    check_fits(checkpoint, encoder)
    texts = embed_prompts(args.encoder, checkpoint.context, checkpoint.categories, checkpoint.class_token_position)
    images = embed_images(args.encoder, golden_pixels())
    prompts = embed_texts(args.encoder, GOLDEN_PROMPTS) if checkpoint.meaning.prompt else None
    digest = write_whole(args.out, checkpoint, images, texts, prompts)
    return {
        "name": checkpoint.name,
        "digest": digest,
        "out": str(args.out),
        "encoder": encoder["digest"],
        "golden_scores": [float(score) for score in score_numpy(checkpoint.head, images, texts, prompts)],
    }


def read_encoder(repository: Path) -> dict:
    """`encoder.json`, after making sure that it speaks of the graphs beside it."""
    file = repository / ENCODER_FILE
    if not file.is_file():
        raise SourceError(f"--encoder {repository} has no {ENCODER_FILE}: write it with agiqa-train export-encoders")
    document = json.loads(file.read_text())
    actual = encoder_digest(*(repository / model / "1" / "model.onnx" for model in (IMAGE_MODEL, TEXT_MODEL)))
    if document["digest"] != actual:
        raise SourceError(f"--encoder {repository}: {ENCODER_FILE} says {document['digest']}, its graphs have {actual}")
    return document


def from_original(args: argparse.Namespace) -> Checkpoint:
    """From the original repository's folder. What it does not say comes from the flags."""
    found = read_original(args.original, args.epoch)
    scale = ScoreScale(
        ORIGINAL_SCALE.min if args.score_min is None else args.score_min,
        ORIGINAL_SCALE.max if args.score_max is None else args.score_max,
        args.score_unit or ORIGINAL_SCALE.unit,
    )
    return Checkpoint(
        name=args.name,
        context=found.context,
        head=found.head,
        encoder_name="",
        encoder_digest="",
        class_token_position=args.position or "end",
        training={
            "source": f"files {found.file} of the original repository's training, epoch {found.epoch}",
            "data": "not recorded in the files",
            "split": "not recorded in the files",
        },
        meaning=Meaning(task=args.task or "quality", views=(View(recipe=args.recipe or PILLOW12),), score=scale),
        licence=args.licence,
    )


def from_run(args: argparse.Namespace, encoder: dict) -> Checkpoint:
    """From a run folder of `agiqa-train fit`, which says everything itself."""
    given = [flag for flag in ORIGINAL_FLAGS if getattr(args, flag) is not None]
    if given:
        flags = ", ".join("--" + flag.replace("_", "-") for flag in given)
        raise SourceError(f"{flags}: only for --original; a run folder says it itself")
    found = read_run(args.run, args.weights)
    check_same_clip(args.run, found, encoder)
    return Checkpoint(
        name=args.name,
        context=found.context,
        head=found.head,
        encoder_name="",
        encoder_digest="",
        class_token_position=found.class_token_position,
        categories=found.categories,
        training=found.training,
        metrics=found.metrics,
        meaning=Meaning(
            task=found.task, views=(View(recipe=found.recipe),), score=found.score, prompt=found.prompt
        ),
        licence=args.licence,
    )


def check_same_clip(folder: Path, found: FittedRun, encoder: dict) -> None:
    """Refuses an encoder that is not the CLIP that the run was trained on; raises SourceError.

    Another precision of the same weights will do. Where `encoder.json` does not name its weights,
    only the very encoder will, if the run knows one.
    """
    recorded = read_json(folder, "config.json")["source"]
    trained = recorded["sha256"], recorded["activation"]
    served = encoder.get("source_file", {}).get("sha256"), encoder["architecture"]["activation"]
    if trained == served or found.encoder_digest == encoder["digest"]:
        return
    if found.encoder_digest is not None:
        raise SourceError(f"run {folder} was trained on encoder {found.encoder_digest}, --encoder is {encoder['digest']}")
    if served[0] is not None:
        raise SourceError(f"run {folder} was trained on weights {' with '.join(trained)}, --encoder is {' with '.join(served)}")


def check_fits(checkpoint: Checkpoint, encoder: dict) -> None:
    """Wants the tensors' shapes to be those of this encoder; raises SourceError that names each fault."""
    dim, width = encoder["embedding_dim"], encoder["text_width"]
    count = len(checkpoint.categories)
    context = checkpoint.context.shape
    length = context[-2] if len(context) >= 2 else 0
    hidden = checkpoint.head["head.0.bias"].size
    wanted = {
        "context": (count, length, width) if len(context) == 3 else (length, width),
        "head.0.weight": (hidden, (1 + count + 2 * checkpoint.meaning.prompt) * dim),
        "head.0.bias": (hidden,),
        "head.1.weight": (1, hidden),
        "head.1.bias": (1,),
    }
    faults = [
        f"{name} has shape {list(array.shape)}, encoder {encoder['name']} wants {list(wanted[name])}"
        for name, array in checkpoint.tensors.items()
        if array.shape != wanted[name]
    ]
    faults += [f"{name} is not finite" for name, array in checkpoint.tensors.items() if not np.isfinite(array).all()]
    if checkpoint.meaning.prompt and encoder.get("capabilities", {}).get("text", GENERAL) != GENERAL:
        faults.append(f"it reads the prompts of pictures, and encoder {encoder['name']} knows quality words only")
    if checkpoint.meaning.score.min >= checkpoint.meaning.score.max:
        faults.append(f"score: min {checkpoint.meaning.score.min:g} is not below max {checkpoint.meaning.score.max:g}")
    if faults:
        raise SourceError("; ".join(faults))


def golden_pixels() -> np.ndarray:
    """uint8 [8, 224, 224, 3]: pictures that the program draws, the same every time."""
    rng = np.random.default_rng(0)
    return np.stack([to_pixels(drawn_image(GOLDEN_SIZE, rng)) for _ in range(GOLDEN)])


def write_whole(
    out: Path, checkpoint: Checkpoint, images: np.ndarray, texts: np.ndarray, prompts: np.ndarray | None = None
) -> str:
    """Writes the bundle beside its place and moves it there; returns the checkpoint's digest."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.new-"))
    try:
        digest = write_bundle(staged, checkpoint, images, texts, prompts)
        staged.chmod(0o755)  # mkdtemp gives 0700, and the server may be another user
        staged.replace(out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)  # nothing, once it was moved
    return digest
