"""`agiqa-train fit`."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch

from ..meaning import ScoreScale
from ..clip import ACTIVATIONS
from ..export_checkpoint import read_encoder
from ..prompts import POSITIONS
from ..sources import SOURCE_FORMS, load_clip
from ..triton_repository import GENERAL, QUALITY_WORDS
from .config import AUGMENTATIONS, OPTIMIZERS, PRECISIONS, FitConfig
from .datasets import DATASETS, check_prompts, load_dataset
from .features import ExportedEncoder, ImageEncoder, TorchEncoder
from .run_folder import write_json
from .splits import BY, SplitConfig, split_dataset
from .train import Frozen, Job, fit, median_report, reads_prompts

CHOICES = {
    "class_token_position": POSITIONS,
    "optimizer": OPTIMIZERS,
    "augmentation": AUGMENTATIONS,
    "precision": PRECISIONS,
}
HELP = {
    "context_length": "learned context vectors in a prompt",
    "class_specific": "a context for every category instead of one for all",
    "class_token_position": "of the category's name in the prompt",
    "context_words": "start from the embeddings of these words (as many tokens as the context is long)",
    "hidden": "width of the head's hidden layer",
    "dropout": "in the head",
    "mean_start": "start the last bias at the mean score of the training images",
    "optimizer": "",
    "learning_rate": "of the first epoch after the warm-up",
    "momentum": "of SGD",
    "weight_decay": "",
    "epochs": "the warm-up's included",
    "warmup_epochs": "at a constant rate",
    "warmup_rate": "",
    "batch": "images in a step",
    "augmentation": "none: image features are computed once and cached",
    "precision": "of the encoders; auto: mixed on a GPU, fp32 on a CPU",
}


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its flags."""
    command = commands.add_parser(
        "fit",
        help="train prompts and head on a frozen CLIP",
        description="Trains a prompt checkpoint on rated images by CLIP-AGIQA's protocol (the defaults). Run it again "
        "to go on with an interrupted run.",
    )
    data = command.add_argument_group("data")
    data.add_argument("--dataset", choices=DATASETS, required=True)
    data.add_argument("--data", type=Path, required=True, help="its folder, or the CSV file (image,score[,prompt])")
    data.add_argument("--images", type=Path, help="folder of the pictures, when they are not in their usual place")
    tasks = "quality, alignment, authenticity, correspondence, as the data has it"
    data.add_argument("--task", default="quality", help=tasks)
    data.add_argument("--score-min", type=float, help="csv: lower end of the scale")
    data.add_argument("--score-max", type=float, help="csv: upper end")
    data.add_argument("--score-unit", default="MOS", help="csv: unit")
    split, defaults = command.add_argument_group("split"), SplitConfig()
    split.add_argument("--split", choices=BY, default=defaults.by, help="by prompt: no prompt on both sides")
    split.add_argument("--test", type=float, default=defaults.test, help="share that is held out (%(default)s)")
    split.add_argument(
        "--validation", type=float, default=defaults.validation, help="share of the rest that picks the best epoch"
    )
    split.add_argument("--split-seed", default=str(defaults.seed), help='a number, or "each": every seed splits anew')
    encoder = command.add_argument_group("encoder")
    encoder.add_argument("--source", required=True, help=SOURCE_FORMS)
    encoder.add_argument("--activation", choices=ACTIVATIONS, help="of an open_clip file that does not say it")
    encoder.add_argument("--encoder", type=Path, help="Triton model repository: embed images as the server will")
    encoder.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    run = command.add_argument_group("run")
    folders = "run folder; with several seeds, OUT/seed-N and OUT/summary.json"
    run.add_argument("--out", type=Path, required=True, help=folders)
    run.add_argument("--seeds", default="1", help="comma-separated (%(default)s)")
    run.add_argument("--cache", type=Path, help="folder of image features (default: OUT/../features)")
    run.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="threads that decode pictures")
    recipe = command.add_argument_group("recipe")
    for field in fields(FitConfig):
        if field.name in HELP:
            _add_setting(recipe, field.name, field.default)
    command.set_defaults(call=call)


def _add_setting(group: argparse._ArgumentGroup, name: str, default: object) -> None:
    flag = "--" + name.replace("_", "-")
    if isinstance(default, bool):
        group.add_argument(flag, action="store_true", help=HELP[name])
        return
    kind = str if default is None else type(default)
    text = f"{HELP[name]} ({default})" if default is not None else HELP[name]
    group.add_argument(flag, type=kind, default=default, choices=CHOICES.get(name), help=text.strip())


def call(args: argparse.Namespace) -> dict:
    """The command; returns the result of the run, or the summary of several."""
    seeds = [_whole(text, "--seeds") for text in args.seeds.split(",")]
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"--seeds {args.seeds}: a seed is named twice")
    config = FitConfig(**{name: getattr(args, name) for name in HELP})
    scale = None
    if args.score_min is not None and args.score_max is not None:
        scale = ScoreScale(args.score_min, args.score_max, args.score_unit)
    dataset = load_dataset(args.dataset, args.data, args.images, args.task, scale)
    if reads_prompts(dataset):
        check_prompts(dataset)
    frozen = load_frozen(args.source, args.activation, args.encoder, args.device, config.precision)
    if reads_prompts(dataset):
        check_capability(frozen)
    results = {}
    for seed in seeds:
        split_config = SplitConfig(
            args.split, args.test, args.validation,
            seed if args.split_seed == "each" else _whole(args.split_seed, "--split-seed"),
        )
        job = Job(
            dataset=dataset,
            split=split_dataset(dataset, split_config),
            split_config=split_config,
            config=replace(config, seed=seed),
            frozen=frozen,
            folder=args.out if len(seeds) == 1 else args.out / f"seed-{seed}",
            cache=args.cache or args.out.parent / "features",
            workers=max(1, args.workers),
        )
        results[seed] = fit(job)
    if len(seeds) == 1:
        return results[seeds[0]]
    summary = median_report(results)
    write_json(args.out / "summary.json", summary)
    return summary


def check_capability(frozen: Frozen) -> None:
    """Raises ValueError where the text tower knows no language, which the prompts of pictures are in."""
    capability = GENERAL
    if frozen.repository is not None:
        capability = read_encoder(frozen.repository).get("capabilities", {}).get("text", GENERAL)
    elif frozen.source["format"] == "demo":
        capability = QUALITY_WORDS
    if capability != GENERAL:
        raise ValueError(
            "task alignment needs an encoder whose text tower knows language, and this one knows quality words only; "
            "export one from published weights: agiqa-train export-encoders --source hf:openai/clip-vit-base-patch16"
        )


def load_frozen(
    source: str, activation: str | None, repository: Path | None, device_name: str, precision: str
) -> Frozen:
    """Loads the encoders; raises SourceError or ValueError."""
    cuda = torch.cuda.is_available()
    if device_name == "cuda" and not cuda:
        raise ValueError("--device cuda: torch sees no GPU")
    device = torch.device("cuda" if cuda and device_name != "cpu" else "cpu")
    if precision == "auto":
        precision = "fp32" if device.type == "cpu" else "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("--precision fp16 needs a GPU")
    clip, info = load_clip(source, activation)
    clip = clip.to(device).eval()
    images: ImageEncoder = TorchEncoder(clip, f"{info.sha256} {clip.config.activation}", device, precision)
    encoder = None
    if repository is not None:
        document = read_encoder(repository)
        encoder = {"name": document["name"], "digest": document["digest"]}
        images = ExportedEncoder(repository, document["digest"], clip.config.vision.resolution)
    return Frozen(clip, asdict(info), images, encoder, repository, device, precision)


def _whole(text: str, flag: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 32:
        raise ValueError(f"{flag} {text!r}: want whole numbers from 0 to 2^32-1")
    return value
