"""benchmarks/gpu.sh, on a CPU with tiny towers: the same programs, from the encoders to the gateway in front."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"


def run(*args: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", str(SCRIPT), *args], cwd=ROOT, capture_output=True, text=True, env=os.environ | environment, timeout=120
    )


def test_one_go_writes_one_document(tmp_path: Path) -> None:
    """Needs bin/agiqa, which make test-training builds."""
    done = run(
        "--device", "cpu", "--quick", "--agiqa", str(ROOT / "bin" / "agiqa"), "--python", sys.executable, str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "gpu.json").read_text())
    assert document["format"] == "agiqa-gpu-benchmark/1"
    assert document["peak"]["tflops"] > 0 and document["peak"]["dtype"] == "float32"
    rows = {(row["model"], row["mode"], row["batch"]): row for row in document["encoders"]}
    assert {("tiny-16", "eager", 1), ("tiny-14", "graph", 4)} <= rows.keys()
    assert all(row["images_per_s"] > 0 and row["share_of_peak"] > 0 for row in rows.values())
    loads = document["gateway"]["tiny-16"]
    assert loads.keys() == {"engine", "tensors", "single", "images-64"}
    answered = sum(round(load["images_per_s"] * load["took_s"]) for name, load in loads.items() if name != "engine")
    assert all(load["errors"] == 0 and load["images_per_s"] > 0 for name, load in loads.items() if name != "engine")
    # No image came from anywhere else than the engine.
    assert loads["engine"]["rows"] >= 0.9 * answered and loads["engine"]["mean_batch"] >= 1
    assert "images/s" in done.stdout and "gpu.json" in done.stdout


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        ((), 2, "usage: benchmarks/gpu.sh"),
        (("--device", "tpu", "OUT"), 2, "usage: benchmarks/gpu.sh"),
        (("--fast", "OUT"), 2, "unknown option --fast"),
        (("--device", "cpu", "--python", "/nowhere/python", "OUT"), 1, "/nowhere/python can't compute on cpu"),
        (("--device", "cpu", "--agiqa", "/nowhere/agiqa", "OUT"), 1, "/nowhere/agiqa doesn't run here"),
    ],
)
def test_says_what_is_missing(tmp_path: Path, args: tuple[str, ...], status: int, words: str) -> None:
    args = tuple(str(tmp_path / "out") if a == "OUT" else a for a in args)
    if "--python" not in args:
        args = ("--python", sys.executable, *args)
    done = run(*args)
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr


def test_operations_of_published_towers() -> None:
    """timm counts 17.58 and 81.08 G multiply-adds."""
    program = "import towers; print([towers.flops(n) / 2e9 for n in ('vit-b-16', 'vit-l-14')])"
    out = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "benchmarks" / "gpu", capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(out) == pytest.approx([17.58, 81.08], rel=0.01)
