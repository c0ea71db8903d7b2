"""The log of evaluations on a test set: a line of JSON for each look, in the order of time.

A test set that is looked at often is a validation set. The log says how often it was.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path


def append(file: Path, results: list[dict], source: dict, note: str | None) -> None:
    """Adds a line for each result (of `evaluate_rated`, with scores)."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    lines = []
    for result in results:
        found = result["agreement"]
        figures = {
            "pooled": found["pooled"],
            **{k: found[k]["srcc"] for k in ("within_prompt", "within_generator") if found[k]},
        }
        entry = {
            "time": now,
            "dataset": result["dataset"],
            "dataset_digest": result["dataset_digest"],
            "task": result["task"],
            "images": result["images"],
            "source": source,
            "figures": figures,
            "note": note,
        }
        lines.append(json.dumps(entry) + "\n")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as stream:
        stream.write("".join(lines))


def read(file: Path) -> list[dict]:
    """All looks; an absent file has none. Raises ValueError that names a faulty line."""
    if not file.is_file():
        return []
    looks = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            looks.append(json.loads(line))
        except json.JSONDecodeError as fault:
            raise ValueError(f"{file}, line {number}: {fault}") from fault
    return looks
