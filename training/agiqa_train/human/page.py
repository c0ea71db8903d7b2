"""Writes the generated parts of docs/quality.md and README.md from docs/quality/.

    python -m agiqa_train.human.page

`docs/quality/*.json` are results of `evaluate-human --json`, `docs/quality/looks.jsonl` is its log. A generated
part stands between `<!-- generated: NAME [of ARGUMENT] -->` and `<!-- end -->`; nobody edits it by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import looks
from .report import FORMAT

ROOT = Path(__file__).parents[3]
PAGES = ("docs/quality.md", "README.md")
RESULTS = "docs/quality"
LOOKS = "looks.jsonl"
PART = re.compile(r"(<!-- generated: (?P<name>[a-z]+)(?: of (?P<of>\S+))? -->)(?P<text>.*?)(<!-- end -->)", re.DOTALL)
UNMEASURED = "This has not been measured yet."


@dataclass(frozen=True)
class Measured:
    """One task's result and where its scores came from."""

    source: dict
    result: dict

    @property
    def name(self) -> str:
        """The checkpoint's name, or the table's."""
        return self.source["checkpoint"]["name"] if "checkpoint" in self.source else self.source["file"]


def load(folder: Path) -> list[Measured]:
    """Every result in order of file name; raises ValueError for a file of another format."""
    found = []
    for file in sorted(folder.glob("*.json")):
        document = json.loads(file.read_text(encoding="utf-8"))
        if document.get("format") != FORMAT or document.get("source") is None:
            raise ValueError(f"{file}: isn't a result with scores of evaluate-human ({FORMAT})")
        found += [Measured(document["source"], result) for result in document["results"]]
    return found


def figures_part(measured: list[Measured], _: str | None, __: list[dict]) -> str:
    """A table for each data set and task: the checkpoints, then the published metrics of the same images."""
    if not measured:
        return UNMEASURED
    tables = []
    for dataset, task in dict.fromkeys((m.result["dataset"], m.result["task"]) for m in measured):
        ours = [m for m in measured if (m.result["dataset"], m.result["task"]) == (dataset, task)]
        digests = {m.result["dataset_digest"] for m in ours}
        if len(digests) > 1:
            raise ValueError(f"{dataset}, {task}: results are of different images or ratings; evaluate all on the same")
        first = ours[0].result
        lines = [
            f"**{dataset}, {task}**, {first['images']} generated images"
            + (f" (without a file and left out: {', '.join(first['missing'])})" if first["missing"] else "")
            + f". Data `{first['dataset_digest'][:19]}...`.",
            "",
            "| scores | views | SRCC | KRCC | PLCC | SRCC within prompts | SRCC within generators |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_row(f"`{m.name}`", _views(m.source), m.result["agreement"]) for m in ours]
        lines += [_row(name, "", metric) for name, metric in first["published_metrics"].items()]
        lines += ["", *(_difference(m) for m in ours if m.result["published_metrics"])]
        lines += [_means(m) for m in ours]
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _row(name: str, views: str, group: dict) -> str:
    cells = [interval(group["pooled"][figure]) for figure in ("srcc", "krcc", "plcc")]
    cells += [interval(group[part]["srcc"]) if group[part] else "-" for part in ("within_prompt", "within_generator")]
    return f"| {name} | {views} | " + " | ".join(cells) + " |"


def _views(source: dict) -> str:
    return ", ".join(source.get("views", []))


def _difference(m: Measured) -> str:
    metrics = m.result["published_metrics"]
    best = max(metrics, key=lambda name: metrics[name]["pooled"]["srcc"]["value"])
    return (
        f"- `{m.name}` minus {best}, the best published metric: SRCC {interval(metrics[best]['difference']['srcc'])}."
    )


def _means(m: Measured) -> str:
    parts = []
    for kind, mean in m.result["means"].items():
        if mean["score"] is not None:
            what = "generated images" if kind == "generated" else kind
            parts.append(f"{mean['images']} {what} {mean['score']:.2f} (people {mean['rating']:.2f})")
    return f"- `{m.name}`, mean score: {'; '.join(parts)}."


def interval(figure: dict) -> str:
    """`0.51 [0.37, 0.63]`; "-" where it isn't defined."""
    if figure["value"] is None:
        return "-"
    value, low, high = (
        None if figure[k] is None else f"{round(figure[k], 2) + 0.0:.2f}" for k in ("value", "low", "high")
    )
    return value if low is None else f"{value} [{low}, {high}]"


def looks_part(_: list[Measured], __: str | None, log: list[dict]) -> str:
    """Every look at a test set."""
    if not log:
        return "No look is logged yet."
    lines = ["| when (UTC) | data set, task | scores | images | SRCC | for |", "|---|---|---|---|---|---|"]
    for look in log:
        source = look["source"]
        name = (
            f"`{source['checkpoint']['name']}` `{source['checkpoint']['digest'][:15]}`"
            if "checkpoint" in source
            else source["file"]
        )
        figure = interval(look["figures"]["pooled"]["srcc"])
        lines.append(
            f"| {look['time'][:16].replace('T', ' ')} | {look['dataset']}, {look['task']} | {name} | {look['images']} "
            f"| {figure} | {look['note'] or ''} |"
        )
    return "\n".join(lines)


def agreement_part(measured: list[Measured], name: str | None, _: list[dict]) -> str:
    """One sentence about a checkpoint's agreement on quality, for the README."""
    found = [m for m in measured if m.name == name and m.result["task"] == "quality"]
    if not found:
        return f"How well the scores of `{name}` agree with people's ratings has not been measured yet."
    result = found[0].result
    pooled, inner = result["agreement"]["pooled"]["srcc"], result["agreement"]["within_generator"]
    sentence = (
        f"Scores of `{name}` correlate with people's quality ratings of {result['images']} generated images "
        f"({result['dataset']}) at SRCC {interval(pooled)}"
    )
    metrics = result["published_metrics"]
    if metrics:
        best = max(metrics, key=lambda metric: metrics[metric]["pooled"]["srcc"]["value"])
        reached = metrics[best]["pooled"]["srcc"]["value"]
        sentence += f"; {best}, the best of the metrics published with the images, reaches {reached:.2f}"
    within = "" if inner is None else f" Among the images of one generator it is {interval(inner['srcc'])} on average."
    return f"{sentence}.{within}"


PARTS: dict[str, Callable[[list[Measured], str | None, list[dict]], str]] = {
    "figures": figures_part,
    "looks": looks_part,
    "agreement": agreement_part,
}


def rewritten(text: str, measured: list[Measured], log: list[dict]) -> str:
    """A page with its generated parts as they should be; raises ValueError for a part nobody knows."""

    def part(match: re.Match) -> str:
        name = match["name"]
        if name not in PARTS:
            raise ValueError(f"generated part {name!r} is not one of {', '.join(PARTS)}")
        body = PARTS[name](measured, match["of"], log)
        around = "\n" if "\n" in body or match["text"].startswith("\n") else ""
        return f"{match[1]}{around}{body}{around}{match[5]}"

    return PART.sub(part, text)


def pages(root: Path = ROOT) -> dict[Path, str]:
    """Every page with generated parts, as it should be."""
    measured = load(root / RESULTS)
    log = looks.read(root / RESULTS / LOOKS)
    return {root / page: rewritten((root / page).read_text(encoding="utf-8"), measured, log) for page in PAGES}


def main() -> None:
    """Writes the pages."""
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
