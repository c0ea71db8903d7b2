"""The command line, `agiqa-train`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import export_checkpoint, export_encoders
from .agreement import command as evaluate_command
from .data import CacheConfig
from .demo import DemoConfig, run_demo
from .evaluate import measure, measure_difference
from .exported import Scorer
from .fitting import command as fit_command
from .human import command as human_command


def parser() -> argparse.ArgumentParser:
    """All commands and their flags."""
    top = argparse.ArgumentParser(prog="agiqa-train", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="train the demo encoder and its checkpoints from nothing")
    evaluate = commands.add_parser("demo-eval", help="measure a checkpoint of the demo on pictures it never saw")
    for command, repository in ((demo, "--out"), (evaluate, "--repository")):
        command.add_argument("--images", type=Path, required=True, help="folder of pictures (the split is seeded)")
        command.add_argument(
            repository, dest="repository", type=Path, default=Path("model_repository"), help="Triton model repository"
        )
    defaults = DemoConfig()
    bundles = "folder that gets a bundle for each of " + ", ".join(recipe.name for recipe in defaults.checkpoints)
    demo.add_argument("--checkpoints", type=Path, default=Path("demo/checkpoints"), help=bundles)
    demo.add_argument("--seed", type=int, default=defaults.pretrain.seed)
    demo.add_argument("--minutes", type=float, default=defaults.pretrain.minutes, help="most minutes of pre-training")
    demo.add_argument("--run", type=Path, default=Path("training/runs/demo"), help="run folder; resumed when there")
    evaluate.add_argument("--bundle", type=Path, default=Path("demo/checkpoints/demo"), help="checkpoint bundle")
    evaluate.add_argument("--against", type=Path, help="another bundle: also say how far the scores are from its own")
    evaluate.add_argument("--json", type=Path, help="also write the result to this file")
    fit_command.register(commands)
    evaluate_command.register(commands)
    human_command.register(commands)
    export_encoders.register(commands)
    export_checkpoint.register(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = parser().parse_args(argv)
    if hasattr(args, "call"):  # a command that a module registered
        try:
            result = args.call(args)
            print(result.rstrip() if isinstance(result, str) else json.dumps(result, indent=2))
        except (ValueError, OSError) as fault:  # what the person can mend; anything else is a bug and shows its trace
            print(f"agiqa-train {args.command}: {fault}", file=sys.stderr)
            return 1
        return 0
    if args.command == "demo":
        config = DemoConfig.of(args.seed, args.minutes)
        metrics = run_demo(args.images, args.repository, args.checkpoints, args.run, config)
    else:
        scorer = Scorer(args.repository, args.bundle)
        metrics = measure(scorer, args.images, CacheConfig())
        if args.against is not None:
            other = Scorer(args.repository, args.against)
            gap = measure_difference(scorer, other, args.images, CacheConfig())
            metrics["against"] = {"name": args.against.name, **gap}
        if args.json is not None:
            args.json.write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps(metrics, indent=2))
    return 0
