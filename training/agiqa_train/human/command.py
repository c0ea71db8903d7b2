"""`agiqa-train evaluate-human`."""

from __future__ import annotations

import argparse
import csv
import json
import os
from pathlib import Path

import numpy as np

from ..agreement.bootstrap import BootstrapConfig
from ..fitting.plots import plot_rated
from . import layouts, looks, sources
from .report import FORMAT, evaluate_rated, table


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its flags."""
    command = commands.add_parser(
        "evaluate-human",
        help="agreement of scores with people's ratings of generated images",
        description="Reads a data set of human ratings as its authors publish it and reports how well scores agree "
        "with it. Without a source of scores: the metrics that were published with the data set, alone. "
        "Nothing is written into DIR.",
    )
    command.add_argument(
        "directory", metavar="DIR", type=Path, help="the data set: its folder, or a CSV of image,score"
    )
    command.add_argument("--dataset", choices=layouts.LAYOUTS, help="its layout (default: recognised by its files)")
    command.add_argument("--images", type=Path, help="folder of the images, when they aren't in their usual place")
    command.add_argument("--task", nargs="+", default=["quality"], help="ratings to compare with (quality)")
    command.add_argument("--allow-missing", action="store_true", help="leave out rated images without a file")

    source = command.add_argument_group("scores").add_mutually_exclusive_group()
    source.add_argument("--checkpoint", metavar="BUNDLE", type=Path, help="by this checkpoint, on --encoder")
    source.add_argument("--server", metavar="URL", help="by this running server")
    source.add_argument("--scores", metavar="FILE", type=Path, help="from a CSV of image,score")
    command.add_argument("--encoder", metavar="REPOSITORY", type=Path, help="--checkpoint: Triton model repository")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agiqa-train"
    command.add_argument("--cache", type=Path, default=cache, help="--checkpoint: keeps embeddings here (%(default)s)")
    command.add_argument("--no-cache", dest="cache", action="store_const", const=None, help="keep no embeddings")
    command.add_argument("--server-checkpoint", metavar="NAME", help="--server: checkpoint (default: the server's)")
    command.add_argument("--key-file", type=Path, help="--server: file with the key to send as Authorization: Bearer")
    command.add_argument("--workers", type=int, default=4, help="--server: concurrent requests (%(default)s)")

    command.add_argument("--json", type=Path, help='write the result here; "-": print it instead of the table')
    command.add_argument("--scatter", type=Path, help="write a scatter plot here (PNG), coloured by generator")
    command.add_argument("--save-scores", type=Path, help="write the scores here, as CSV that --scores reads")
    command.add_argument(
        "--looks", type=Path, help="append this evaluation to a log of looks at test sets (JSON Lines)"
    )
    command.add_argument("--note", help="--looks: what this evaluation was for")
    defaults = BootstrapConfig()
    command.add_argument(
        "--replicates", type=int, default=defaults.replicates, help="of the bootstrap; 0: no intervals"
    )
    command.add_argument("--confidence", type=float, default=defaults.confidence, help="of the intervals (%(default)s)")
    command.add_argument("--seed", type=int, default=defaults.seed, help="of the bootstrap (%(default)s)")
    command.set_defaults(call=call)


def call(args: argparse.Namespace) -> dict | str:
    """The command; returns the table, or the document when that is asked for."""
    config = BootstrapConfig(args.replicates, args.confidence, args.seed)
    _check_flags(args)
    rated = [layouts.read(args.directory, args.dataset, args.images, task, args.allow_missing) for task in args.task]
    pictures = {s.name: s.path for one in rated for s in (*one.dataset.samples, *one.photographs)}
    scored = _scores(args, pictures)
    results = [evaluate_rated(one, scored, config) for one in rated]
    document = {
        "format": FORMAT,
        "source": None if scored is None else scored.source,
        "bootstrap": {
            "method": "bca",
            "replicates": config.replicates,
            "confidence": config.confidence,
            "seed": config.seed,
        },
        "results": results,
    }
    if scored is not None:
        if args.looks is not None:
            looks.append(args.looks, results, scored.source, args.note)
        if args.save_scores is not None:
            _save_scores(args.save_scores, scored)
        if args.scatter is not None:
            plot_rated(args.scatter, [_panel(*pair, scored.scores) for pair in zip(rated, results)])
    if str(args.json) == "-":
        return document
    if args.json is not None:
        args.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    head = "" if scored is None else f"scores: {describe(scored.source)}\n\n"
    return head + "\n".join(table(result, config) for result in results)


def _check_flags(args: argparse.Namespace) -> None:
    """Raises ValueError for flags that contradict each other, before any work is done."""
    if (args.checkpoint is None) != (args.encoder is None):
        raise ValueError("--checkpoint and --encoder go together")
    if args.server is None and (args.server_checkpoint or args.key_file):
        raise ValueError("--server-checkpoint and --key-file need --server")
    if args.workers < 1:
        raise ValueError(f"--workers {args.workers}: want 1 or more")
    if args.note and not args.looks:
        raise ValueError("--note needs --looks")
    if len(set(args.task)) != len(args.task):
        raise ValueError("--task: a task is named twice")
    without = args.checkpoint is None and args.server is None and args.scores is None
    source = args.directory.resolve()
    for flag in ("looks", "save_scores", "scatter", "json", "cache"):
        path = getattr(args, flag)
        name = "--" + flag.replace("_", "-")
        if path is None or str(path) == "-":
            continue
        if without and flag in ("looks", "save_scores", "scatter"):
            raise ValueError(f"{name} needs scores: --checkpoint, --server or --scores")
        if source.is_dir() and path.resolve().is_relative_to(source):
            raise ValueError(f"{name} {path}: is inside the data set's folder, which is only read")


def _scores(args: argparse.Namespace, pictures: dict[str, Path]) -> sources.Scored | None:
    if args.checkpoint is not None:
        return sources.from_checkpoint(args.checkpoint, args.encoder, pictures, args.cache)
    if args.server is not None:
        key = args.key_file.read_text().strip() if args.key_file else None
        return sources.from_server(args.server, args.server_checkpoint, key, pictures, args.workers)
    return None if args.scores is None else sources.from_table(args.scores, pictures)


def _panel(rated: layouts.Rated, result: dict, scores: dict[str, float]) -> tuple[str, dict[str, np.ndarray], str]:
    """What `plot_rated` draws for one task: images by generator, and the photographs that have scores."""
    points: dict[str, list[tuple[float, float]]] = {}
    for sample in rated.dataset.samples:
        points.setdefault(sample.generator or "images", []).append((scores[sample.name], sample.score))
    photographs = [(scores[s.name], s.score) for s in rated.photographs if s.name in scores]
    if photographs:
        points["photographs"] = photographs
    srcc = result["agreement"]["pooled"]["srcc"]["value"]
    title = f"{result['dataset']}: SRCC {'-' if srcc is None else format(srcc, '.3f')}, {result['images']} images"
    return title, {name: np.array(found) for name, found in points.items()}, f"mean rating, {result['task']}"


def _save_scores(file: Path, scored: sources.Scored) -> None:
    views = scored.source.get("views", [])
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["image", "score", *views])
        writer.writerows([name, score, *scored.views.get(name, [])] for name, score in scored.scores.items())


def describe(source: dict) -> str:
    """Where scores came from, in a line."""
    if source["kind"] == "table":
        return f"{source['file']}, {source['digest']}"
    checkpoint, encoder = source["checkpoint"], source["encoder"]
    text = f"checkpoint {checkpoint['name']} {checkpoint['digest']} on encoder {encoder['name']}"
    if "graph" in encoder:
        text += f" (graph {encoder['graph']})"
    return text + (f", views {', '.join(source['views'])}" if "views" in source else "")
