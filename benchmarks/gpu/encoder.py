"""Measures a machine's matrix peak and CLIP's image towers on it, by batch size. Writes one JSON, anew after each row.

    encoder.py --device cuda --out FILE [--quick] [--seconds 150]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch
from towers import MODES, Runner, build, flops, synchronize

# Dense FP16 with tensor cores, TFLOP/s, as NVIDIA's data sheets give them. The first name that fits counts.
DATA_SHEET = {
    "B200": 2250, "GH200": 989, "H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L40": 181,
    "A10G": 70, "A10": 125, "L4": 121, "T4": 65, "V100": 125,
}  # fmt: skip
BATCHES = {"eager": (1, 8, 32, 128), "graph": (1, 2, 4, 8, 16, 32, 64, 128, 256), "compile": (1, 8, 32, 128)}


def machine(device: str) -> dict:
    """What was measured on."""
    about = {"python": platform.python_version(), "torch": torch.__version__, "device": device}
    if device != "cuda":
        return about | {"name": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    properties = torch.cuda.get_device_properties(0)
    return about | {
        "name": properties.name, "capability": f"{properties.major}.{properties.minor}", "cuda": torch.version.cuda,
        "processors": properties.multi_processor_count, "memory_gib": round(properties.total_memory / 2**30, 1),
    }  # fmt: skip


def peak(device: str, sizes: tuple[int, ...], seconds: float) -> dict:
    """The fastest of square matrix products, in the precision of the towers."""
    dtype = torch.float16 if device == "cuda" else torch.float32
    rows = []
    for n in sizes:
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        times = timed(lambda a=a, b=b: a @ b, device, seconds)
        rows.append({"n": n, "tflops": round(2 * n**3 / min(times) / 1e12, 3)})
    known = next((v for k, v in DATA_SHEET.items() if k in machine(device)["name"]), None) if device == "cuda" else None
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "tflops": max(row["tflops"] for row in rows),
        "data_sheet_tflops": known,
        "by_size": rows,
    }


def timed(call, device: str, seconds: float) -> list[float]:
    """Seconds of each of at least five calls, which one after the other take about `seconds`."""
    for _ in range(2):
        call()
    synchronize(device)
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        synchronize(device)
        times.append(time.perf_counter() - begin)
    return times


def pipelined(call, device: str, seconds: float, one: float) -> float:
    """Seconds of a call where the next is asked for before it has ended, as a busy server does."""
    count = max(5, int(seconds / one))
    synchronize(device)
    begin = time.perf_counter()
    for _ in range(count):
        call()
    synchronize(device)
    return (time.perf_counter() - begin) / count


def measure(name: str, runner: Runner, batch: int, seconds: float, best: float) -> dict:
    """One row: latency of single batches, throughput of many."""
    runner.pixels(batch)
    times = sorted(timed(lambda: runner.run(batch), runner.device, seconds / 2))
    each = pipelined(lambda: runner.run(batch), runner.device, seconds / 2, times[0])
    achieved = flops(name) * batch / each / 1e12
    return {
        "model": name, "mode": runner.mode, "batch": batch, "images_per_s": round(batch / each, 1),
        "latency_ms": {
            "p50": round(1e3 * statistics.median(times), 3), "p95": round(1e3 * times[int(0.95 * (len(times) - 1))], 3),
        },
        "ms_per_image": round(1e3 * each / batch, 4), "tflops": round(achieved, 3),
        "share_of_peak": round(achieved / best, 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="tiny towers and short times: does the program work?")
    parser.add_argument("--seconds", type=float, default=150, help="leave out what would begin after so many")
    args = parser.parse_args()
    begin, each = time.monotonic(), 0.02 if args.quick else 0.5
    models = ("tiny-16", "tiny-14") if args.quick else ("vit-b-16", "vit-l-14")
    sizes = (128, 256) if args.quick else (4096, 8192, 16384) if args.device == "cuda" else (512, 1024)
    doc = {"machine": machine(args.device), "peak": peak(args.device, sizes, each), "encoders": [], "left_out": []}

    def keep() -> None:
        args.out.write_text(json.dumps(doc, indent=1) + "\n")

    keep()
    # By mode first: what takes longest and may be missing, a compiler, comes last.
    for mode in MODES:
        for name in models:
            runner = None
            for batch in BATCHES[mode][: 3 if args.quick else None]:
                about = {"model": name, "mode": mode, "batch": batch}
                if args.quick and mode == "compile":
                    doc["left_out"].append(about | {"why": "compiling isn't quick"})
                    continue
                if time.monotonic() - begin > args.seconds:
                    doc["left_out"].append(about | {"why": f"{args.seconds:g} s were over"})
                    continue
                try:
                    runner = runner or Runner(build(name, args.device), args.device, mode)
                    doc["encoders"].append(measure(name, runner, batch, each, doc["peak"]["tflops"]))
                except Exception as fault:  # no compiler, no memory: the other rows still count
                    doc["left_out"].append(about | {"why": f"{type(fault).__name__}: {str(fault).strip()[:300]}"})
                    runner = None
                keep()
            runner = None
            if args.device == "cuda":
                torch.cuda.empty_cache()
    keep()


if __name__ == "__main__":
    main()
