"""What Pillow and NumPy make of an image, and how long it takes them.

Spoken to by pillow.go: a line of JSON with "op", and "bytes" more bytes where
the request has data; answered by the same. Lives through the whole run.
"""

import hashlib
import io
import json
import os
import sys
import time

import numpy
import PIL
from PIL import Image, features

SIDE = 224
source, answer = sys.stdin.buffer, sys.stdout.buffer
current = {}


def decode():
    return Image.open(io.BytesIO(current["data"])).convert("RGB")


def resize(image):
    """torchvision's Resize(224, bicubic) and CenterCrop(224), as an array."""
    w, h = image.size
    size = (SIDE, int(SIDE * h / w)) if w <= h else (int(SIDE * w / h), SIDE)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (int(round((s - SIDE) / 2.0)) for s in size)
    return numpy.array(image.crop((left, top, left + SIDE, top + SIDE)))


STEPS = {
    "decode": decode,
    "resize": lambda: resize(current["rgb"]),
    "whole": lambda: resize(decode()),
}


def versions(_):
    named = {name: features.version(name) for name in ("libjpeg_turbo", "webp", "zlib", "zlib_ng")}
    return {"pillow": PIL.__version__, "numpy": numpy.__version__, "python": sys.version.split()[0],
            **{k: v for k, v in named.items() if v}}


def pin(request):
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {request["cpu"]})
    return {}


def load(request):
    current["data"] = request["data"]
    current["rgb"] = decode()
    return {"sha256": hashlib.sha256(resize(current["rgb"]).tobytes()).hexdigest()}


def convert(request):
    """The picture at full size and, behind it, its 224x224 pixels, unless those take a resize to a vast strip."""
    try:
        image = Image.open(io.BytesIO(request["data"]), formats=["PNG", "JPEG", "WEBP", "GIF"])
    except PIL.UnidentifiedImageError:  # its text has an address
        raise ValueError("cannot identify image file") from None
    image = image.convert("RGB")
    w, h = image.size
    vast = SIDE * SIDE * max(w, h) > 2e8 * min(w, h)
    return {"width": w, "height": h, "data": image.tobytes() + (b"" if vast else resize(image).tobytes())}


def timed(request):
    step = STEPS[request["step"]]
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    step()
    return {"cpu_ns": time.process_time_ns() - cpu, "wall_ns": time.perf_counter_ns() - wall}


def encode(request):
    out = io.BytesIO()
    Image.open(io.BytesIO(request["data"])).convert("RGB").save(out, request["format"], **(request["options"] or {}))
    return {"data": out.getvalue()}


OPERATIONS = {"versions": versions, "pin": pin, "load": load, "time": timed, "encode": encode, "convert": convert}

while line := source.readline():
    request = json.loads(line)
    if request.get("bytes"):
        request["data"] = source.read(request["bytes"])
    try:
        reply = OPERATIONS[request["op"]](request)
    except Exception as e:  # the run reports it and stops
        reply = {"error": f"{type(e).__name__}: {e}"}
    data = reply.pop("data", b"")
    reply["bytes"] = len(data)
    answer.write(json.dumps(reply).encode() + b"\n" + data)
    answer.flush()
