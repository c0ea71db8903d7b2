"""The command line, `agiqa-train`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import calibrate, export_checkpoint, export_encoders, record_evaluation
from .agreement import command as evaluate_command
from .data import CacheConfig
from .demo import DemoConfig, leave_one_out, run_demo
from .encoder_folder import EncoderFolder
from .exported import Scorer
from .fitting import command as fit_command
from .human import command as human_command
from .small_demo import DemoConfig as SmallDemoConfig
from .small_demo import measure as measure_small
from .small_demo import run_demo as run_small_demo

RUNS = Path("training/runs")


def parser() -> argparse.ArgumentParser:
    """All commands and their flags."""
    top = argparse.ArgumentParser(prog="agiqa-train", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    register_demos(commands)
    fit_command.register(commands)
    evaluate_command.register(commands)
    human_command.register(commands)
    export_encoders.register(commands)
    export_checkpoint.register(commands)
    calibrate.register(commands)
    record_evaluation.register(commands)
    return top


def register_demos(commands: argparse._SubParsersAction) -> None:
    """The commands that need no data set."""
    demo = commands.add_parser("demo", help="train text tower and checkpoints of the default encoder")
    small = commands.add_parser("demo-small", help="train the small encoder and its checkpoints from nothing")
    evaluate = commands.add_parser("demo-eval", help="measure a checkpoint of the small encoder on held-out pictures")
    for command in (demo, small, evaluate):
        command.add_argument("--images", type=Path, required=True, help="folder of pictures (the split is seeded)")
    encoder = Path("encoders/clip-vit-b-16")
    demo.add_argument("--encoder", type=Path, default=encoder, help="the encoder's folder; gets the text encoder")
    demo.add_argument("--models", type=Path, required=True, help="model repository that bin/agiqa models made of it")
    small.add_argument("--out", type=Path, default=Path("model_repository"), help="model repository for both encoders")
    evaluate.add_argument("--repository", type=Path, default=Path("model_repository"), help="Triton model repository")
    for command, config in ((demo, DemoConfig()), (small, SmallDemoConfig())):
        names = ", ".join(recipe.name for recipe in config.checkpoints)
        bundles = f"folder that gets a bundle for each of {names}"
        command.add_argument("--checkpoints", type=Path, default=Path("demo/checkpoints"), help=bundles)
        command.add_argument("--seed", type=int, default=1)
    demo.add_argument("--run", type=Path, default=RUNS / "demo", help="run folder; resumed when there")
    words = "train nothing for keeps: print how well each kind of damage is ranked without training on it"
    demo.add_argument("--leave-one-out", action="store_true", help=words)
    demo.set_defaults(call=run_demo_command)
    small.add_argument("--run", type=Path, default=RUNS / "demo-small", help="run folder; resumed when there")
    minutes = SmallDemoConfig().pretrain.minutes
    small.add_argument("--minutes", type=float, default=minutes, help="most minutes of pre-training")
    small.set_defaults(call=run_small_demo_command)
    evaluate.add_argument("--bundle", type=Path, default=Path("demo/checkpoints/demo"), help="checkpoint bundle")
    evaluate.add_argument("--against", type=Path, help="another bundle: also say how far the scores are from its own")
    evaluate.add_argument("--json", type=Path, help="also write the result to this file")
    evaluate.set_defaults(call=run_demo_eval_command)


def run_demo_command(args: argparse.Namespace) -> dict:
    """`demo`."""
    config, encoder = DemoConfig.of(args.seed), EncoderFolder(args.encoder, args.models)
    if args.leave_one_out:
        return leave_one_out(args.images, encoder, args.run, config)
    return run_demo(args.images, encoder, args.checkpoints, args.run, config)


def run_small_demo_command(args: argparse.Namespace) -> dict:
    """`demo-small`."""
    config = SmallDemoConfig.of(args.seed, args.minutes)
    return run_small_demo(args.images, args.out, args.checkpoints, args.run, config)


def run_demo_eval_command(args: argparse.Namespace) -> dict:
    """`demo-eval`."""
    scorer = Scorer(args.repository, args.bundle)
    other = None if args.against is None else Scorer(args.repository, args.against)
    metrics = measure_small(scorer, args.images, RUNS / "embeddings", CacheConfig(), other)
    if args.json is not None:
        args.json.write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = parser().parse_args(argv)
    try:
        result = args.call(args)
        print(result.rstrip() if isinstance(result, str) else json.dumps(result, indent=2))
    except (ValueError, OSError) as fault:  # what the person can fix; anything else is a bug and shows its trace
        print(f"agiqa-train {args.command}: {fault}", file=sys.stderr)
        return 1
    return 0
