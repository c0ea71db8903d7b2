"""Results of evaluate-human in a bundle's manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agiqa_train.bundle import write_bundle
from agiqa_train.cli import main
from agiqa_train.golden_bundle import golden_checkpoint


def report(path: Path, digest: str, task: str, srcc: float | None) -> Path:
    """What `evaluate-human --json` writes, as far as it is read."""
    low, high = (None, None) if srcc is None else (srcc - 0.1, srcc + 0.1)
    pooled = {"srcc": {"value": srcc, "low": low, "high": high}}
    result = {"dataset": "some", "task": task, "images": 30, "agreement": {"pooled": pooled}}
    path.write_text(json.dumps({"source": {"checkpoint": {"name": "m", "digest": digest}}, "results": [result]}))
    return path


def test_results_are_added_and_replaced(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    digest = write_bundle(bundle, *golden_checkpoint())
    first = report(tmp_path / "a.json", digest, "quality", 0.5)
    assert main(["record-evaluation", str(bundle), str(first), str(report(tmp_path / "b.json", digest, "appeal", 0.4))]) == 0
    assert main(["record-evaluation", str(bundle), str(report(tmp_path / "a.json", digest, "quality", 0.61234))]) == 0
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["digest"] == digest
    assert [(e["dataset"], e["task"], e["srcc"]) for e in manifest["evaluation"]] == [
        ("made up", "authenticity", 0.5),
        ("some", "appeal", 0.4),
        ("some", "quality", 0.6123),
    ]
    assert manifest["evaluation"][2] == {
        "dataset": "some",
        "task": "quality",
        "images": 30,
        "srcc": 0.6123,
        "low": 0.5123,
        "high": 0.7123,
    }


@pytest.mark.parametrize(
    ("digest", "srcc", "message"), [("sha256:other", 0.5, "is about checkpoint sha256:other"), (None, None, "has no SRCC")]
)
def test_refusals(
    tmp_path: Path, capsys: pytest.CaptureFixture, digest: str | None, srcc: float | None, message: str
) -> None:
    own = write_bundle(tmp_path / "bundle", *golden_checkpoint())
    before = (tmp_path / "bundle" / "manifest.json").read_text()
    file = report(tmp_path / "a.json", digest or own, "quality", srcc)
    assert main(["record-evaluation", str(tmp_path / "bundle"), str(file)]) == 1
    assert message in capsys.readouterr().err
    assert (tmp_path / "bundle" / "manifest.json").read_text() == before


def test_format_1_has_no_place_for_results(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    digest = write_bundle(tmp_path / "bundle", *golden_checkpoint())
    file = tmp_path / "bundle" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": "agiqa-checkpoint/1"}))
    assert main(["record-evaluation", str(tmp_path / "bundle"), str(report(tmp_path / "a.json", digest, "q", 0.5))]) == 1
    assert "is of format agiqa-checkpoint/1" in capsys.readouterr().err
