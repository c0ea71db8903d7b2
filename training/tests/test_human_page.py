"""The generated parts of docs/quality.md and README.md: from the results, and current."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from agiqa_train.human import looks
from agiqa_train.human.page import Measured, load, pages, rewritten

FIGURE = {"value": 0.506, "low": 0.3596, "high": 0.6179}
LOW = {"value": 0.15, "low": -0.004, "high": 0.326}
UNDEFINED = {"value": None, "low": None, "high": None}


def group() -> dict:
    pooled = {"srcc": FIGURE, "krcc": LOW, "plcc": UNDEFINED}
    return {
        "pooled": pooled,
        "within_prompt": {"prompts": 27, "srcc": FIGURE},
        "within_generator": {"generators": 5, "srcc": LOW},
    }


def measured(name: str = "quick", task: str = "quality") -> Measured:
    metrics = {"NIQE": {"sign": -1, **group(), "difference": {"srcc": LOW}}}
    metrics["MUSIQ"] = copy.deepcopy(metrics["NIQE"])
    metrics["MUSIQ"]["pooled"]["srcc"] = {"value": 0.7, "low": 0.6, "high": 0.8}
    metrics["MUSIQ"]["difference"]["srcc"] = {"value": -0.19, "low": -0.3, "high": -0.1}
    result = {
        "dataset": "Faces",
        "dataset_digest": "sha256:0123456789abcdef",
        "task": task,
        "images": 134,
        "missing": ["a/p1.png"],
        "notes": [],
        "agreement": {**group(), "generators": {}},
        "published_metrics": metrics,
        "means": {
            "generated": {"images": 134, "rating": 2.757, "score": 3.1},
            "photographs": {"images": 11, "rating": 3.942, "score": 4.5},
        },
    }
    source = {
        "kind": "checkpoint",
        "checkpoint": {"name": name, "digest": "sha256:feedc0de"},
        "views": ["224", "448/r0c0"],
    }
    return Measured(source, result)


def test_figures() -> None:
    text = rewritten("a\n<!-- generated: figures -->\nold\n<!-- end -->\nb", [measured(), measured("precise")], [])
    lines = text.splitlines()
    assert (
        lines[:2] == ["a", "<!-- generated: figures -->"] and lines[-2:] == ["<!-- end -->", "b"] and "old" not in lines
    )
    row = "0.51 [0.36, 0.62] | 0.15 [0.00, 0.33] | - | 0.51 [0.36, 0.62] | 0.15 [0.00, 0.33] |"
    assert f"| `quick` | 224, 448/r0c0 | {row}" in lines and f"| `precise` | 224, 448/r0c0 | {row}" in lines
    assert f"| NIQE |  | {row}" in lines
    assert "**Faces, quality**, 134 generated images (without a file and left out: a/p1.png)." in text
    assert "- `quick` minus MUSIQ, the best published metric: SRCC -0.19 [-0.30, -0.10]." in lines
    assert "- `quick`, mean score: 134 generated images 3.10 (people 2.76); 11 photographs 4.50 (people 3.94)." in lines


def test_results_of_different_images_are_no_table() -> None:
    other = measured("precise")
    other.result["dataset_digest"] = "sha256:another"
    with pytest.raises(ValueError, match="Faces, quality: results are of different images or ratings"):
        rewritten("<!-- generated: figures --><!-- end -->", [measured(), other], [])


def test_the_sentence_of_the_readme() -> None:
    page = "<!-- generated: agreement of quick -->x<!-- end -->"
    assert rewritten(page, [measured("quick", "appeal"), measured("quick")], []) == (
        "<!-- generated: agreement of quick -->"
        "Scores of `quick` correlate with people's quality ratings of 134 generated images (Faces) at SRCC 0.51 [0.36, "
        "0.62]; MUSIQ, the best of the metrics published with the images, reaches 0.70. "
        "Among the images of one generator it is 0.15 [0.00, 0.33] on average."
        "<!-- end -->"
    )
    assert "scores of `quick` agree with people's ratings has not been measured yet" in rewritten(page, [], [])


def test_looks_are_listed_in_their_order(tmp_path: Path) -> None:
    for name, note in (("quick", "first"), ("precise", None)):
        looks.append(tmp_path / "looks.jsonl", [measured(name).result], measured(name).source, note)
    log = looks.read(tmp_path / "looks.jsonl")
    rows = rewritten("<!-- generated: looks -->\n<!-- end -->", [], log).splitlines()[3:-1]
    assert [row.split(" | ", 1)[1] for row in rows] == [
        "Faces, quality | `quick` `sha256:feedc0de` | 134 | 0.51 [0.36, 0.62] | first |",
        "Faces, quality | `precise` `sha256:feedc0de` | 134 | 0.51 [0.36, 0.62] |  |",
    ]
    (tmp_path / "looks.jsonl").write_text("{}\nno json\n")
    with pytest.raises(ValueError, match="looks.jsonl, line 2"):
        looks.read(tmp_path / "looks.jsonl")


def test_faulty_pages_and_results(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="generated part 'weather' is not one of figures, looks, agreement"):
        rewritten("<!-- generated: weather --><!-- end -->", [], [])
    (tmp_path / "r.json").write_text(json.dumps({"format": "agiqa-evaluation/1"}))
    with pytest.raises(ValueError, match="r.json: isn't a result with scores"):
        load(tmp_path)


def test_the_pages_are_current() -> None:
    stale = [page.name for page, text in pages().items() if page.read_text(encoding="utf-8") != text]
    assert not stale, f"{', '.join(stale)}: run make quality-page"
