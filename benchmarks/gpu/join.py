"""Joins what benchmarks/gpu.sh measured into one JSON, and prints its figures.

    join.py PARTS --begun TIME --callers N --out FILE
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

NOT_MEASURED = [
    "Triton itself: agiqa bench stub-triton speaks its protocol and makes batches, without a queue delay",
    "TensorRT's engines: the towers run in PyTorch, in FP16 on a GPU",
    "texts and heads: the stand-in makes up their numbers",
]


def load_of(report: dict) -> dict:
    """What is kept of a load's report."""
    kept = {
        "images_per_s": report["completed_per_s"], "errors": report["errors"],
        "latency_ms": report["latency_ms"], "generator_cpu_s": report["generator_cpu_s"], "took_s": report["took_s"],
        "warnings": report["warnings"],
    }  # fmt: skip
    if process := report.get("process"):
        kept["gateway_cpu_ms_per_image"] = process["cpu_s_per_1000"]
    return kept


def join(parts: Path, begun: str, callers: int) -> dict:
    """The document; a part that wasn't measured is null."""
    encoders = parts / "encoders.json"
    document = {"format": "agiqa-gpu-benchmark/1", "begun": begun, "agiqa": (parts / "version.txt").read_text().strip()}
    if (smi := parts / "nvidia-smi.txt").exists():
        document["nvidia_smi"] = smi.read_text().splitlines()
    measured = json.loads(encoders.read_text()) if encoders.exists() else {}
    document |= {key: measured.get(key) for key in ("machine", "peak", "encoders", "left_out")}
    through: dict[str, dict] = {}
    for path in sorted(parts.glob("*-tensors.json")):
        model = path.name.removesuffix("-tensors.json")
        files = {p.name[len(model) + 1 : -5]: json.loads(p.read_text()) for p in parts.glob(f"{model}-*.json") if p.stat().st_size}
        through[model] = {name: report if name == "engine" else load_of(report) for name, report in sorted(files.items())}
    return document | {"callers": callers, "gateway": through or None, "not_measured": NOT_MEASURED}


def text(document: dict) -> str:
    """The figures, for people."""
    lines = []
    if peak := document["peak"]:
        sheet = f", data sheet {peak['data_sheet_tflops']}" if peak["data_sheet_tflops"] else ""
        lines.append(f"{document['machine']['name']}: {peak['tflops']} TFLOP/s by matrix products ({peak['dtype']}{sheet})")
        lines.append(f"{'model':10} {'mode':8} {'batch':>5} {'images/s':>10} {'p50 ms':>8} {'of peak':>8}")
    for row in document["encoders"] or []:
        lines.append(
            f"{row['model']:10} {row['mode']:8} {row['batch']:5} {row['images_per_s']:10.1f} {row['latency_ms']['p50']:8.2f} "
            f"{row['share_of_peak']:8.1%}"
        )
    for row in document["left_out"] or []:
        lines.append(f"left out: {row['model']} {row['mode']} {row['batch']}: {row['why']}")
    for model, loads in (document["gateway"] or {}).items():
        for name, load in loads.items():
            if name == "engine":
                lines.append(f"{model} engine: {load['mean_batch']} images a batch, busy {load['busy_share']:.0%} of its time")
            else:
                lines.append(
                    f"{model} {name}: {load['images_per_s']:.1f} images/s, p50 {load['latency_ms']['p50']:.1f}, "
                    f"p99 {load['latency_ms']['p99']:.1f} ms, {load['errors']} errors"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", type=Path)
    parser.add_argument("--begun", required=True)
    parser.add_argument("--callers", type=int, required=True, help="of each load but the one of a single caller")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    document = join(args.parts, args.begun, args.callers)
    args.out.write_text(json.dumps(document, indent=1) + "\n")
    print(text(document))


if __name__ == "__main__":
    main()
