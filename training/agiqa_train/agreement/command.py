"""`agiqa-train evaluate`."""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path

import numpy as np

from ..fitting.plots import plot_scatter
from ..fitting.run_folder import WEIGHTS, read_json
from .bootstrap import BootstrapConfig
from .report import evaluate

COLUMNS = ("image", "score", "mos")


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its flags."""
    command = commands.add_parser("evaluate", help="correlations of scores with mean opinions, with intervals")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--scores", type=Path, help="CSV of image,score,mos")
    source.add_argument("--run", type=Path, help="run folder of agiqa-train fit: its held-out images")
    command.add_argument("--weights", choices=WEIGHTS, default="last", help="--run: of which epoch (%(default)s)")
    defaults = BootstrapConfig()
    command.add_argument("--replicates", type=int, default=defaults.replicates, help="of the bootstrap; 0: no intervals")
    command.add_argument("--confidence", type=float, default=defaults.confidence, help="of the intervals (%(default)s)")
    command.add_argument("--seed", type=int, default=defaults.seed, help="of the bootstrap (%(default)s)")
    command.add_argument("--json", type=Path, help='write the figures here; "-": print them instead of the table')
    command.add_argument("--png", type=Path, help="write a scatter plot here")
    command.set_defaults(call=call)


def call(args: argparse.Namespace) -> dict | str:
    """The command; returns the table, or the document when that is asked for."""
    file = args.scores
    if args.run is not None:
        read_json(args.run, "result.json")  # says what is wrong with a folder that is no finished run
        file = args.run / f"predictions-{args.weights}.csv"
    scores, mos = read_scores(file)
    report = evaluate(scores, mos, BootstrapConfig(args.replicates, args.confidence, args.seed))
    if args.png is not None:
        plot_scatter(args.png, scores, mos, report)
    if args.json is None:
        return report.table()
    if str(args.json) == "-":
        return report.to_dict()
    args.json.write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    return report.table()


def read_scores(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Scores and opinions [n] in the order of the file; raises ValueError that names a faulty line."""
    seen: set[str] = set()
    rows: list[tuple[float, float]] = []
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{file}: has no column {', '.join(missing)}")
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            if row["image"] in seen:
                raise ValueError(f"{where}: {row['image']!r} is named twice, and intervals are by image")
            seen.add(row["image"])
            rows.append((_number(row["score"], where), _number(row["mos"], where)))
    values = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return values[:, 0], values[:, 1]


def _number(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: {text!r} is not a finite number")
    return value
