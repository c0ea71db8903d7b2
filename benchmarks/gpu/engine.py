"""Embeds images for `agiqa bench stub-triton -- python engine.py`, with a tower of random weights.

Standard output: the size of an embedding; then, for each batch on standard input (the number of rows, and their
pixels), the embeddings of its rows. Sizes are little-endian uint32, numbers float32. Leaves at the end of the input,
and writes what it did to --report.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import queue
import struct
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import torch
from towers import MODES, SIZE, TOWERS, Runner, build, synchronize

PIXELS = SIZE * SIZE * 3
BUFFERS = 3  # one is read, one waits, one is computed


def sizes(most: int) -> list[int]:
    """The batch sizes that are ready; a batch is filled up to the next one."""
    return sorted({1, 2, 4, most} | set(range(8, most, 8)))


def view(tensor: torch.Tensor, count: int) -> memoryview:
    """The first bytes of a tensor in memory."""
    return memoryview((ctypes.c_ubyte * count).from_address(tensor.data_ptr())).cast("B")


def read_all(source, target: memoryview) -> bool:
    """Fills the target; False at the end of the source."""
    filled = 0
    while filled < len(target):
        n = source.readinto(target[filled:])
        if not n:
            return False
        filled += n
    return True


def read_batches(source, most: int, free: queue.Queue, full: queue.Queue) -> None:
    """Reads the next batch while one is computed; None at the end."""
    header = bytearray(4)
    while read_all(source, memoryview(header)):
        (rows,) = struct.unpack("<I", header)
        if not 1 <= rows <= most:
            print(f"engine: a batch of {rows} rows, want 1 to {most}", file=sys.stderr)
            break
        buffer = free.get()
        if not read_all(source, view(buffer, rows * PIXELS)):
            break
        full.put((rows, buffer))
    full.put(None)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=TOWERS, default="vit-b-16")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--mode", choices=MODES, default="graph")
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    dim, most = int(os.environ["AGIQA_ENGINE_DIM"]), int(os.environ["AGIQA_ENGINE_BATCH"])
    # What libraries print must not get between the answers.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    source = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115
    runner = Runner(build(args.model, args.device, dim), args.device, args.mode)
    ready = sizes(most)
    for batch in ready:
        runner.run(batch)
    synchronize(args.device)
    pinned = args.device == "cuda"
    free: queue.Queue = queue.Queue()
    full: queue.Queue = queue.Queue()
    for _ in range(BUFFERS):
        free.put(torch.empty(most * PIXELS, dtype=torch.uint8, pin_memory=pinned))
    threading.Thread(target=read_batches, args=(source, most, free, full), daemon=True).start()
    batches: Counter[int] = Counter()
    busy = first = last = 0.0
    out.write(struct.pack("<I", dim))
    while (got := full.get()) is not None:
        rows, buffer = got
        begin = time.perf_counter()
        size = next(n for n in ready if n >= rows)
        pixels = runner.pixels(size)
        pixels[:rows].copy_(buffer[: rows * PIXELS].view(rows, SIZE, SIZE, 3), non_blocking=pinned)
        answer = runner.run(size)[:rows].float().cpu().contiguous()  # waits for the device
        free.put(buffer)
        last = time.perf_counter()
        busy, first = busy + last - begin, first or begin
        batches[rows] += 1
        out.write(view(answer, rows * dim * 4))
    if args.report:
        rows = sum(n * count for n, count in batches.items())
        args.report.write_text(
            json.dumps(
                {
                    "model": args.model, "mode": args.mode, "rows": rows, "batches": sum(batches.values()),
                    "mean_batch": round(rows / max(1, sum(batches.values())), 2),
                    "busy_share": round(busy / max(1e-9, last - first), 3),
                    "by_rows": {str(n): batches[n] for n in sorted(batches)},
                }  # fmt: skip
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
