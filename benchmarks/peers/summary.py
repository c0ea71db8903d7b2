"""Prints what gateway-cost.sh left in a folder as one table.

    python benchmarks/peers/summary.py OUT_DIR
"""

import json
import math
import pathlib
import re
import sys

out = pathlib.Path(sys.argv[1])


def read(name):
    return json.loads((out / name / "report.json").read_text())


def whole(when):
    """Processor milliseconds of preparing the image exactly, with the decoders
    that serve uses."""
    figures = json.loads((out / f"preprocess-{when}" / "results.json").read_text())["results"][0]["figures"]
    ours = figures.get("native") or figures["go"]
    return next(f["cpu_ms"] for f in ours if f["step"] == "whole")


def figure_of(report, figure):
    if figure.startswith("latency"):
        return report["latency_ms"][figure.split("_")[1]]
    return report["process"][figure] if figure.startswith("cpu") else report[figure]


def inverse(ratio):
    """The comparison tells B over A; here it is the other way."""
    return f"{1 / ratio['ratio']:.2f} ({1 / ratio['high']:.2f} to {1 / ratio['low']:.2f}, {ratio['pairs']} pairs)"


rows = [("stub's time", "measured", "agiqa", "peer", "ratio (95 % interval, or range)")]
services = sorted({p.name.split("-")[0] for p in out.glob("*-closed")}, key=lambda s: float(re.sub("[a-z]", "", s)))
prepared = (whole("before") + whole("after")) / 2
beyond = []
for service in services:
    for loop, figures in (
        ("closed", [("images/s", "completed_per_s"), ("CPU ms an image", "cpu_s_per_1000")]),
        ("open", [("p50 ms", "latency_p50"), ("p99 ms", "latency_p99"), ("CPU ms an image", "cpu_s_per_1000")]),
    ):
        c = read(f"{service}-{loop}")
        for name, figure in figures:
            # agiqa over peer for what should be high, peer over agiqa for what should be low
            ratio = c["ratios"][figure]
            text = inverse(ratio) if figure == "completed_per_s" else f"{ratio['ratio']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}, {ratio['pairs']} pairs)"
            rows.append((service, f"{loop} loop, {name}", f"{figure_of(c['a'], figure):.1f}", f"{figure_of(c['b'], figure):.1f}", text))
        if loop == "closed":
            beyond.append((service, c["a"]["process"]["cpu_s_per_1000"], c["a"]["generator_cpu_s"] / c["a"]["completed"] * 1000))
    objectives = sorted({p.name.split("-")[1] for p in out.glob(f"{service}-*-*-agiqa")}, key=lambda s: float(re.sub("[a-z]", "", s)))
    for objective in objectives:
        turns = sorted(p.name.split("-")[2] for p in out.glob(f"{service}-{objective}-*-agiqa"))
        for name, key in (("images/s on one core", "rate"), ("CPU ms an image there", "cpu_s_per_1000")):
            pairs = [[read(f"{service}-{objective}-{t}-{who}").get(key, 0) for who in ("agiqa", "peer")] for t in turns]
            cells = [", ".join(f"{p[i]:.1f}" for p in pairs) for i in (0, 1)]
            if all(a > 0 and b > 0 for a, b in pairs):
                ratios = [a / b if key == "rate" else b / a for a, b in pairs]
                mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
                text = f"{mean:.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} turns)"
            else:
                text = "none: no rate met the objective"
            rows.append((service, f"p99 <= {objective}, {name}", *cells, text))

widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
for r in rows:
    print("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip())
print("\nratio: how many times better agiqa is (below 1: worse). Each gateway had one processor to itself.")
print((out / "peer-settings.txt").read_text(), end="")
print()
for service, cpu, generator in beyond:
    print(
        f"stub's time {service}: agiqa {cpu:.2f} ms of processor time an image - {prepared:.2f} ms for preparing it alone "
        f"({whole('before'):.2f} before, {whole('after'):.2f} after) = {cpu - prepared:.2f} ms beyond preprocessing; "
        f"the generator took {generator:.2f} ms, on other processors"
    )
