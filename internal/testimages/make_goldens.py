#!/usr/bin/env python3
"""Draws the golden images and writes what Pillow makes of them.

    python3 -m venv venv && venv/bin/pip install pillow==13.0.0 numpy==2.4.6
    venv/bin/python internal/testimages/make_goldens.py

It writes golden/<name>.<ext>, the inputs, and golden/expected.zip with

    index.json   {"pillow": ..., "libjpeg_turbo": ..., "libwebp": ...,
                  "cases": {"<file>": {"width", "height", "mode", "rgb": <sha256>,
                                       "out": <sha256>, "cells": {"<size>": <sha256>}}}}
    <file>.rgb   Image.open(file).convert("RGB"), raw bytes, where the format is
                 lossy or the image small
    <file>.224   the same after Resize(224, bicubic) and CenterCrop(224), raw
                 bytes, for the few files named in KEEP_OUT

"out" is the digest of those 224x224x3 bytes for every file, so the archive
stays small and a failing test can still show how far the decoded pixels are.
"cells" has the digest of the picture after Resize(size, bicubic) and
CenterCrop(size), cut into cells of 224x224, row by row: of 448 for every file,
of 1120 for the few named in LARGE.
Everything is drawn here, from fixed seeds; no picture comes from elsewhere.
"""

import hashlib
import io
import json
import math
import pathlib
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image, ImageDraw, features
from PIL import __version__ as pillow_version

PINNED = "13.0.0"
OUT = pathlib.Path(__file__).parent / "golden"
KEEP_RGB = 20_000
KEEP_OUT = {"size-300x200.png", "size-1000x30.png", "size-640x480.png", "noise-16x150.png", "size-1x1.png"}
LARGE = KEEP_OUT | {"stripes-333x401.png", "jpeg-420-300x200.jpg", "webp-lossy-225x223.webp"}


# Pictures.

def picture(w, h, seed=1):
    """Gradients, a fine texture, hard edges and text: uint8 [h, w, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w].astype(float)
    u, v = x / max(w - 1, 1), y / max(h - 1, 1)
    a = np.stack([255 * u, 255 * v, 255 * (1 - u) * (1 - v)], axis=-1)
    if w * h < 20_000:  # a texture does not compress, and the files are to stay small
        a += 24 * np.sin(x[..., None] * [0.9, 1.7, 0.4] + y[..., None] * [1.3, 0.3, 0.8])
    im = Image.fromarray(np.clip(a, 0, 255).astype(np.uint8), "RGB")
    d = ImageDraw.Draw(im)
    for _ in range(6):
        x0, x1 = sorted(rng.integers(0, w + 1, 2).tolist())
        y0, y1 = sorted(rng.integers(0, h + 1, 2).tolist())
        colour = tuple(rng.integers(0, 256, 3).tolist())
        (d.rectangle if rng.integers(2) else d.ellipse)([x0, y0, x1, y1], fill=colour)
    d.text((w // 8, h // 3), "agiqa", fill=(255, 255, 255))
    return np.asarray(im)


def noise(w, h, seed=2):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def gray_of(rgb):
    return np.asarray(Image.fromarray(rgb, "RGB").convert("L"))


# PNG of every colour type, depth and interlace; Pillow writes only some.

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pack_rows(samples, depth, seed):
    """samples [h, w, c] of depth bits -> filtered scanlines, a filter per row."""
    h, w, c = samples.shape
    if w == 0 or h == 0:
        return b""
    flat = samples.reshape(h, w * c)
    if depth == 16:
        rows = flat.astype(">u2").view(np.uint8).reshape(h, -1)
    elif depth == 8:
        rows = flat.astype(np.uint8)
    else:
        per = 8 // depth
        padded = np.zeros((h, -(-flat.shape[1] // per) * per), np.uint8)
        padded[:, : flat.shape[1]] = flat
        rows = np.zeros((h, padded.shape[1] // per), np.uint8)
        for i in range(per):
            rows |= padded[:, i::per] << (8 - depth * (i + 1))
    bpp = max(1, c * depth // 8)
    out, prev = bytearray(), np.zeros(rows.shape[1], int)
    for r, row in enumerate(rows.astype(int)):
        left = np.concatenate([np.zeros(bpp, int), row])[: len(row)]
        upleft = np.concatenate([np.zeros(bpp, int), prev])[: len(row)]
        kind = (r + seed) % 5
        if kind == 0:
            pred = np.zeros_like(row)
        elif kind == 1:
            pred = left
        elif kind == 2:
            pred = prev
        elif kind == 3:
            pred = (left + prev) // 2
        else:
            p = left + prev - upleft
            pa, pb, pc = abs(p - left), abs(p - prev), abs(p - upleft)
            pred = np.where((pa <= pb) & (pa <= pc), left, np.where(pb <= pc, prev, upleft))
        out.append(kind)
        out += ((row - pred) % 256).astype(np.uint8).tobytes()
        prev = row
    return bytes(out)


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(samples, colour_type, depth, palette=None, trns=None, interlace=False, extra=()):
    h, w, _ = samples.shape
    if interlace:
        raw = b"".join(pack_rows(samples[y::dy, x::dx], depth, i) for i, (x, y, dx, dy) in enumerate(ADAM7))
    else:
        raw = pack_rows(samples, depth, 0)
    data = zlib.compress(raw, 9)
    half = len(data) // 2
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour_type, 0, 0, interlace))]
    parts += [chunk(k, d) for k, d in extra]
    if palette is not None:
        parts.append(chunk(b"PLTE", bytes(palette)))
    if trns is not None:
        parts.append(chunk(b"tRNS", bytes(trns)))
    parts += [chunk(b"IDAT", data[:half]), chunk(b"IDAT", data[half:]), chunk(b"IEND", b"")]
    return b"".join(parts)


def deep(rgb, seed=5):
    """8-bit samples to 16 bits with a low byte that is not the high one."""
    low = np.random.default_rng(seed).integers(0, 256, rgb.shape)
    return rgb.astype(int) * 256 + low


def ramp_palette(n, seed=7):
    return np.random.default_rng(seed).integers(0, 256, 3 * n, dtype=np.uint8)


def png_cases():
    rgb = picture(37, 29)
    g = gray_of(rgb)[..., None].astype(int)
    alpha = np.broadcast_to((np.arange(37) * 7 % 256)[None, :, None], (29, 37, 1)).astype(int)
    for inter in (False, True):
        tail = "-interlaced" if inter else ""
        for depth in (1, 2, 4, 8):
            yield f"png-gray{depth}{tail}.png", png(g >> (8 - depth), 0, depth, interlace=inter)
            n = min(1 << depth, 200)
            pal = ramp_palette(n)
            idx = (g >> (8 - depth)) % n
            yield f"png-palette{depth}{tail}.png", png(idx, 3, depth, palette=pal, interlace=inter)
        yield f"png-gray16{tail}.png", png(deep(g), 0, 16, interlace=inter)
        yield f"png-rgb8{tail}.png", png(rgb.astype(int), 2, 8, interlace=inter)
        yield f"png-rgb16{tail}.png", png(deep(rgb), 2, 16, interlace=inter)
        yield f"png-la8{tail}.png", png(np.concatenate([g, alpha], -1), 4, 8, interlace=inter)
        yield f"png-la16{tail}.png", png(deep(np.concatenate([g, alpha], -1)), 4, 16, interlace=inter)
        yield f"png-rgba8{tail}.png", png(np.concatenate([rgb, alpha], -1), 6, 8, interlace=inter)
        yield f"png-rgba16{tail}.png", png(deep(np.concatenate([rgb, alpha], -1)), 6, 16, interlace=inter)
    # Low 16-bit grays: Pillow's I;16 keeps 0..255 apart from the rest.
    yield "png-gray16-dark.png", png(g * 2, 0, 16)
    for depth in (1, 2, 4, 8, 16):
        top = deep(g) if depth == 16 else g >> (8 - depth)
        yield f"png-gray{depth}-trns.png", png(top, 0, depth, trns=struct.pack(">H", int(top[3, 3, 0])))
    yield "png-rgb8-trns.png", png(rgb.astype(int), 2, 8, trns=struct.pack(">HHH", *rgb[3, 3].tolist()))
    d = deep(rgb)
    yield "png-rgb16-trns.png", png(d, 2, 16, trns=struct.pack(">HHH", *d[3, 3].tolist()))
    yield "png-palette8-trns.png", png(g % 200, 3, 8, palette=ramp_palette(200), trns=range(0, 200, 2))
    yield "png-palette4-trns.png", png(g >> 4, 3, 4, palette=ramp_palette(16), trns=[0, 128, 255])
    yield "png-palette8-short.png", png(g, 3, 8, palette=ramp_palette(100))
    yield "png-palette8-short-trns.png", png(g, 3, 8, palette=ramp_palette(100), trns=[0, 9, 80])
    yield "png-palette2-short.png", png(g >> 6, 3, 2, palette=ramp_palette(3))
    colour = [(b"gAMA", struct.pack(">I", 100000)), (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))]
    yield "png-gama-chrm.png", png(rgb.astype(int), 2, 8, extra=colour)
    yield "png-srgb.png", png(rgb.astype(int), 2, 8, extra=[(b"sRGB", b"\x00")])
    yield "png-sbit.png", png(rgb.astype(int), 2, 8, extra=[(b"sBIT", b"\x05\x06\x05")])
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "png-exif6.png", png(rgb.astype(int), 2, 8, extra=[(b"eXIf", exif.tobytes()[6:])])
    frames = [Image.fromarray(picture(40, 30, s), "RGB") for s in (1, 2, 3)]
    yield "png-animated.png", saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield "png-animated-default.png", saved(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)


SIZES = [
    (1, 1), (1, 2), (2, 1), (1, 300), (300, 1), (2, 3), (3, 700), (5, 4), (223, 225), (224, 224), (225, 224),
    (224, 300), (300, 224), (225, 223), (300, 200), (200, 300), (640, 480), (1000, 30), (31, 997), (449, 448),
]


def size_cases():
    for w, h in SIZES:
        yield f"size-{w}x{h}.png", saved(Image.fromarray(picture(w, h), "RGB"), "PNG", optimize=True)
    for w, h in [(97, 61), (16, 150)]:
        yield f"noise-{w}x{h}.png", saved(Image.fromarray(noise(w, h), "RGB"), "PNG", optimize=True)
    stripes = np.zeros((401, 333, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[::3] ^= 255
    yield "stripes-333x401.png", saved(Image.fromarray(stripes, "RGB"), "PNG", optimize=True)


def saved(im, fmt, **kw):
    b = io.BytesIO()
    im.save(b, fmt, **kw)
    return b.getvalue()


# Baseline JPEG with any sampling factors and markers; Pillow writes only three samplings.

ZIGZAG = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
]


def flat_huffman(symbols):
    """Canonical code in which every symbol has the same length."""
    n = max(1, math.ceil(math.log2(len(symbols) + 1)))
    counts = [0] * 16
    counts[n - 1] = len(symbols)
    return {s: (i, n) for i, s in enumerate(symbols)}, bytes(counts) + bytes(symbols)


DC, DC_SPEC = flat_huffman(list(range(12)))
AC, AC_SPEC = flat_huffman([0x00, 0xF0] + [r * 16 + s for r in range(16) for s in range(1, 11)])
DCT = np.array([[math.cos((2 * x + 1) * k * math.pi / 16) * (math.sqrt(0.125) if k == 0 else 0.5) for x in range(8)] for k in range(8)])


class Bits:
    def __init__(self):
        self.out, self.acc, self.n = bytearray(), 0, 0

    def put(self, code, length):
        self.acc, self.n = self.acc << length | code, self.n + length
        while self.n >= 8:
            b = self.acc >> (self.n - 8) & 255
            self.out += b"\xff\x00" if b == 255 else bytes([b])
            self.n -= 8
        self.acc &= (1 << self.n) - 1

    def flush(self):
        if self.n:
            self.put((1 << (8 - self.n)) - 1, 8 - self.n)


def put_value(bits, v, size):
    if size:
        bits.put(v if v > 0 else v + (1 << size) - 1, size)


def put_block(bits, coef, pred):
    diff = int(coef[0]) - pred
    size = abs(diff).bit_length()
    bits.put(*DC[size])
    put_value(bits, diff, size)
    run = 0
    for k in ZIGZAG[1:]:
        v = int(coef[k])
        if v == 0:
            run += 1
            continue
        while run > 15:
            bits.put(*AC[0xF0])
            run -= 16
        size = abs(v).bit_length()
        bits.put(*AC[run * 16 + size])
        put_value(bits, v, size)
        run = 0
    if run:
        bits.put(*AC[0x00])
    return int(coef[0])


def segment(marker, data):
    return bytes([255, marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg(planes, sampling, ids=(1, 2, 3, 4), markers=b"", q=12, restart=0, interleaved=True):
    """planes: [h, w] arrays at full size; sampling: [(h, v)] a plane."""
    h, w = planes[0].shape
    hmax, vmax = max(s[0] for s in sampling), max(s[1] for s in sampling)
    mx, my = -(-w // (8 * hmax)), -(-h // (8 * vmax))
    blocks = []
    for p, (sh, sv) in zip(planes, sampling):
        fx, fy = hmax / sh, vmax / sv
        ys = np.minimum((np.arange(my * 8 * sv) * fy).astype(int), h - 1)
        xs = np.minimum((np.arange(mx * 8 * sh) * fx).astype(int), w - 1)
        small = p.astype(float)[ys][:, xs] - 128
        b = small.reshape(my * sv, 8, mx * sh, 8).transpose(0, 2, 1, 3)
        blocks.append(np.rint(DCT @ b @ DCT.T / q).astype(int).reshape(my * sv, mx * sh, 64))
    out = b"\xff\xd8" + markers + segment(0xDB, b"\x00" + bytes([q] * 64))
    out += segment(0xC0, struct.pack(">BHHB", 8, h, w, len(planes)) + b"".join(bytes([ids[i], sh * 16 + sv, 0]) for i, (sh, sv) in enumerate(sampling)))
    out += segment(0xC4, b"\x00" + DC_SPEC) + segment(0xC4, b"\x10" + AC_SPEC)
    if restart:
        out += segment(0xDD, struct.pack(">H", restart))

    def scan(which, order):
        bits, pred = Bits(), {}
        for n, mcu in enumerate(order):
            if restart and n and n % restart == 0:
                bits.flush()
                bits.out += bytes([255, 0xD0 + (n // restart - 1) % 8])
                pred = {}
            for c, by, bx in mcu:
                pred[c] = put_block(bits, blocks[c][by, bx], pred.get(c, 0))
        bits.flush()
        head = bytes([len(which)]) + b"".join(bytes([ids[c], 0]) for c in which) + b"\x00\x3f\x00"
        return segment(0xDA, head) + bytes(bits.out)

    if interleaved and len(planes) > 1:
        order = [[(c, y * sv + j, x * sh + i) for c, (sh, sv) in enumerate(sampling) for j in range(sv) for i in range(sh)] for y in range(my) for x in range(mx)]
        out += scan(range(len(planes)), order)
    else:
        for c, (sh, sv) in enumerate(sampling):
            bw, bh = -(-(-(-w * sh // hmax)) // 8), -(-(-(-h * sv // vmax)) // 8)
            out += scan([c], [[(c, y, x)] for y in range(bh) for x in range(bw)])
    return out + b"\xff\xd9"


def adobe(transform):
    return segment(0xEE, b"Adobe\x00d\x00\x00\x00\x00" + bytes([transform]))


JFIF = segment(0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00")


def jpeg_cases():
    def ycc(w, h):
        return [np.asarray(c) for c in Image.fromarray(picture(w, h), "RGB").convert("YCbCr").split()]

    for name, s in {"444": 0, "422": 1, "420": 2}.items():
        im = Image.fromarray(picture(61, 45), "RGB")
        yield f"jpeg-{name}.jpg", saved(im, "JPEG", quality=85, subsampling=s)
        yield f"jpeg-{name}-progressive.jpg", saved(im, "JPEG", quality=85, subsampling=s, progressive=True)
        yield f"jpeg-{name}-restart.jpg", saved(im, "JPEG", quality=60, subsampling=s, restart_marker_blocks=2)
    for w, h in [(1, 1), (1, 64), (64, 1), (2, 2), (3, 5), (4, 4), (5, 3), (6, 6), (15, 33), (16, 16), (17, 17), (225, 223), (300, 200), (90, 400)]:
        yield f"jpeg-420-{w}x{h}.jpg", saved(Image.fromarray(picture(w, h), "RGB"), "JPEG", quality=80, subsampling=2)
    for w, h in [(1, 1), (3, 3), (5, 2), (4, 9), (17, 17)]:
        yield f"jpeg-422-{w}x{h}.jpg", saved(Image.fromarray(picture(w, h), "RGB"), "JPEG", quality=80, subsampling=1)
    im = Image.fromarray(picture(120, 90), "RGB")
    for q in (5, 30, 100):
        yield f"jpeg-quality{q}.jpg", saved(im, "JPEG", quality=q)
    yield "jpeg-noise.jpg", saved(Image.fromarray(noise(64, 64), "RGB"), "JPEG", quality=90)
    yield "jpeg-gray.jpg", saved(im.convert("L"), "JPEG")
    yield "jpeg-gray-progressive.jpg", saved(im.convert("L"), "JPEG", progressive=True)
    yield "jpeg-gray-2x2.jpg", jpeg([gray_of(picture(45, 39))], [(2, 2)], markers=JFIF)
    yield "jpeg-cmyk-adobe.jpg", saved(im.convert("CMYK"), "JPEG", quality=85)
    yield "jpeg-cmyk-adobe-progressive.jpg", saved(im.convert("CMYK"), "JPEG", quality=85, progressive=True)
    yield "jpeg-rgb.jpg", saved(im, "JPEG", quality=85, keep_rgb=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "jpeg-exif6.jpg", saved(im, "JPEG", exif=exif)
    yield "jpeg-icc.jpg", saved(im, "JPEG", icc_profile=b"not a profile" * 9)
    factors = {
        "440": [(1, 2), (1, 1), (1, 1)], "411": [(4, 1), (1, 1), (1, 1)], "410": [(4, 2), (1, 1), (1, 1)],
        "441": [(1, 4), (1, 1), (1, 1)], "mixed": [(2, 2), (2, 1), (1, 2)], "uneven": [(2, 2), (1, 1), (2, 2)],
        "lumalow": [(1, 1), (2, 2), (2, 2)],
    }
    for name, f in factors.items():
        yield f"jpeg-{name}.jpg", jpeg(ycc(61, 45), f, markers=JFIF)
        yield f"jpeg-{name}-9x7.jpg", jpeg(ycc(9, 7), f, markers=JFIF)
    yield "jpeg-440-1x1.jpg", jpeg(ycc(1, 1), factors["440"], markers=JFIF)
    yield "jpeg-420-scans.jpg", jpeg(ycc(61, 45), [(2, 2), (1, 1), (1, 1)], markers=JFIF, interleaved=False)
    yield "jpeg-420-scans-restart.jpg", jpeg(ycc(61, 45), [(2, 2), (1, 1), (1, 1)], markers=JFIF, interleaved=False, restart=3)
    yield "jpeg-no-marker.jpg", jpeg(ycc(33, 21), [(2, 2), (1, 1), (1, 1)])
    yield "jpeg-no-marker-ids.jpg", jpeg(ycc(33, 21), [(1, 1)] * 3, ids=(0, 1, 2))
    rgb = list(np.moveaxis(picture(33, 21), -1, 0))
    yield "jpeg-rgb-ids.jpg", jpeg(rgb, [(1, 1)] * 3, ids=(82, 71, 66))
    yield "jpeg-rgb-adobe.jpg", jpeg(rgb, [(1, 1)] * 3, markers=adobe(0))
    yield "jpeg-rgb-adobe-420.jpg", jpeg(rgb, [(2, 2), (1, 1), (1, 1)], markers=adobe(0))
    cmyk = [np.asarray(c) for c in Image.fromarray(picture(61, 45), "RGB").convert("CMYK").split()]
    cmyk[3] = gray_of(picture(61, 45, 3)) // 3
    inverted = [255 - c for c in cmyk]
    yield "jpeg-cmyk-plain.jpg", jpeg(cmyk, [(1, 1)] * 4)
    yield "jpeg-cmyk-adobe0.jpg", jpeg(inverted, [(1, 1)] * 4, markers=adobe(0))
    yield "jpeg-cmyk-adobe0-420.jpg", jpeg(inverted, [(2, 2), (1, 1), (1, 1), (2, 2)], markers=adobe(0))
    ycck = ycc(61, 45) + [inverted[3]]
    yield "jpeg-ycck.jpg", jpeg(ycck, [(1, 1)] * 4, markers=adobe(2))
    yield "jpeg-ycck-420.jpg", jpeg(ycck, [(2, 2), (1, 1), (1, 1), (2, 2)], markers=adobe(2))


# WebP.

def riff(*chunks):
    body = b"WEBP" + b"".join(k + struct.pack("<I", len(d)) + d + b"\x00" * (len(d) & 1) for k, d in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_chunks(data):
    at, out = 12, []
    while at + 8 <= len(data):
        n = struct.unpack("<I", data[at + 4 : at + 8])[0]
        out.append((data[at : at + 4], data[at + 8 : at + 8 + n]))
        at += 8 + n + (n & 1)
    return out


def u24(v):
    return struct.pack("<I", v)[:3]


def webp_animation(canvas, frames):
    """frames: [(x, y, Image, options)]; x and y even."""
    out = [(b"VP8X", bytes([0x12, 0, 0, 0]) + u24(canvas[0] - 1) + u24(canvas[1] - 1)), (b"ANIM", bytes([10, 20, 30, 255, 0, 0]))]
    for x, y, im, options in frames:
        inner = b"".join(
            k + struct.pack("<I", len(d)) + d + b"\x00" * (len(d) & 1)
            for k, d in webp_chunks(saved(im, "WEBP", **options)) if k in (b"VP8 ", b"VP8L", b"ALPH")
        )
        out.append((b"ANMF", u24(x // 2) + u24(y // 2) + u24(im.width - 1) + u24(im.height - 1) + u24(40) + b"\x00" + inner))
    return riff(*out)


def webp_cases():
    for w, h in [(1, 1), (2, 2), (1, 40), (40, 1), (17, 16), (16, 17), (61, 45), (225, 223), (300, 200)]:
        yield f"webp-lossy-{w}x{h}.webp", saved(Image.fromarray(picture(w, h), "RGB"), "WEBP", quality=75)
    im = Image.fromarray(picture(61, 45), "RGB")
    rgba = im.copy()
    rgba.putalpha(Image.fromarray(gray_of(picture(61, 45, 4))))
    yield "webp-lossy-q5.webp", saved(im, "WEBP", quality=5)
    yield "webp-lossy-alpha.webp", saved(rgba, "WEBP", quality=80)
    yield "webp-lossless.webp", saved(im, "WEBP", lossless=True)
    yield "webp-lossless-alpha.webp", saved(rgba, "WEBP", lossless=True, exact=True)
    yield "webp-lossless-palette.webp", saved(im.quantize(13).convert("RGB"), "WEBP", lossless=True)
    yield "webp-lossless-noise.webp", saved(Image.fromarray(noise(31, 29), "RGB"), "WEBP", lossless=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "webp-exif6.webp", saved(im, "WEBP", quality=75, exif=exif)
    more = Image.fromarray(picture(61, 45, 9), "RGB")
    yield "webp-animated.webp", saved(im, "WEBP", save_all=True, append_images=[more], quality=75)
    yield "webp-animated-lossless.webp", saved(rgba, "WEBP", save_all=True, append_images=[more], lossless=True)
    yield "webp-animated-offset.webp", webp_animation((90, 70), [(8, 6, im, {"quality": 75}), (0, 0, more, {"quality": 50})])
    yield "webp-animated-offset-alpha.webp", webp_animation((90, 70), [(8, 6, rgba, {"quality": 75}), (0, 0, more, {"quality": 50})])
    yield "webp-animated-offset-lossless.webp", webp_animation((90, 70), [(2, 4, rgba, {"lossless": True})])


# GIF by hand: canvas, frame placement, palettes and interlace that Pillow does not write.

def lzw(indices, bits):
    """Uncompressed LZW: a clear code often enough that the code length never grows."""
    clear, out, acc, n = 1 << bits, bytearray(), 0, 0
    codes = []
    for i, v in enumerate(indices):
        if i % ((1 << bits) - 2) == 0:
            codes.append(clear)
        codes.append(int(v))
    for c in codes + [clear + 1]:
        acc |= c << n
        n += bits + 1
        while n >= 8:
            out.append(acc & 255)
            acc, n = acc >> 8, n - 8
    if n:
        out.append(acc & 255)
    return bytes([bits]) + b"".join(bytes([len(out[i : i + 255])]) + out[i : i + 255] for i in range(0, len(out), 255)) + b"\x00"


def gif_table(palette):
    n = max(1, (len(palette) // 3 - 1).bit_length())
    return n - 1, bytes(palette) + b"\x00" * (3 * (1 << n) - len(palette))


def gif(canvas, frames, palette=None, background=0):
    """frames: [(x, y, indices, {local, transparent, interlace})]."""
    flags, table = (0, b"")
    if palette is not None:
        n, table = gif_table(palette)
        flags = 0x80 | 0x70 | n
    out = b"GIF89a" + struct.pack("<HHBBB", *canvas, flags, background, 0) + table
    for x, y, idx, o in frames:
        if "transparent" in o:
            out += b"\x21\xf9\x04" + bytes([1, 0, 0, o["transparent"]]) + b"\x00"
        h, w = idx.shape
        local, table = 0, b""
        if "local" in o:
            n, table = gif_table(o["local"])
            local = 0x80 | n
        if o.get("interlace"):
            local |= 0x40
            idx = np.concatenate([idx[0::8], idx[4::8], idx[2::4], idx[1::2]])
        out += b"\x2c" + struct.pack("<HHHHB", x, y, w, h, local) + table + lzw(idx.ravel(), o.get("bits", 8))
    return out + b";"


def gif_cases():
    im = Image.fromarray(picture(61, 45), "RGB")
    more = Image.fromarray(picture(61, 45, 9), "RGB")
    yield "gif-plain.gif", saved(im, "GIF")
    yield "gif-animated.gif", saved(im, "GIF", save_all=True, append_images=[more, im])
    yield "gif-gray.gif", saved(im.convert("L"), "GIF")
    idx = gray_of(picture(37, 29)).astype(int)
    pal = ramp_palette(256)
    yield "gif-interlaced.gif", gif((37, 29), [(0, 0, idx, {"interlace": True})], pal)
    yield "gif-local-palette.gif", gif((37, 29), [(0, 0, idx, {"local": ramp_palette(256, 8)})], pal)
    yield "gif-no-palette.gif", gif((37, 29), [(0, 0, idx, {})])
    yield "gif-short-palette.gif", gif((37, 29), [(0, 0, idx, {})], ramp_palette(64))
    yield "gif-4bit.gif", gif((37, 29), [(0, 0, idx >> 4, {"bits": 4})], ramp_palette(16))
    yield "gif-2colour.gif", gif((37, 29), [(0, 0, idx >> 7, {"bits": 2})], ramp_palette(2))
    yield "gif-transparent.gif", gif((37, 29), [(0, 0, idx, {"transparent": 77})], pal)
    yield "gif-part.gif", gif((60, 50), [(9, 7, idx, {})], pal, background=5)
    yield "gif-part-transparent.gif", gif((60, 50), [(9, 7, idx, {"transparent": 33})], pal, background=5)
    yield "gif-part-local.gif", gif((60, 50), [(9, 7, idx, {"local": ramp_palette(256, 8)})], pal, background=5)
    yield "gif-outside.gif", gif((20, 20), [(9, 7, idx, {})], pal)
    gray = np.repeat(np.arange(256, dtype=np.uint8), 3)
    yield "gif-part-gray.gif", gif((60, 50), [(9, 7, idx, {"transparent": 40})], gray)
    yield "gif-trailing.gif", gif((37, 29), [(0, 0, idx, {})], pal) + b"PK\x03\x04 not an image"


# Expectation.

def prepare(rgb, size=224):
    """torchvision Resize(size, bicubic) and CenterCrop(size) on a PIL image."""
    w, h = rgb.size
    short, long = min(w, h), max(w, h)
    new = size, int(size * long / short)
    im = rgb.resize(new if w <= h else new[::-1], Image.Resampling.BICUBIC)
    w, h = im.size
    left, top = int(round((w - size) / 2.0)), int(round((h - size) / 2.0))
    return im.crop((left, top, left + size, top + size))


def cells(rgb, size):
    """The 224x224 cells of prepare(rgb, size), row by row, one after another."""
    square = np.asarray(prepare(rgb, size))
    return b"".join(
        square[y : y + 224, x : x + 224].tobytes() for y in range(0, size, 224) for x in range(0, size, 224)
    )


def main():
    if pillow_version != PINNED:
        raise SystemExit(f"Pillow {pillow_version} is installed, the goldens are pinned to {PINNED}")
    OUT.mkdir(exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    cases, blobs = {}, {}
    for gen in (png_cases, size_cases, jpeg_cases, webp_cases, gif_cases):
        for name, data in gen():
            (OUT / name).write_bytes(data)
            im = Image.open(io.BytesIO(data))
            mode = im.mode
            rgb = im.convert("RGB")
            out = prepare(rgb).tobytes()
            raw = rgb.tobytes()
            cases[name] = {
                "width": rgb.width, "height": rgb.height, "mode": mode,
                "rgb": hashlib.sha256(raw).hexdigest(), "out": hashlib.sha256(out).hexdigest(),
                "cells": {
                    size: hashlib.sha256(cells(rgb, size)).hexdigest()
                    for size in ([448, 1120] if name in LARGE else [448])
                },
            }
            if len(raw) <= KEEP_RGB or name.endswith(".jpg") or "lossy" in name:
                blobs[name + ".rgb"] = raw
            if name in KEEP_OUT:
                blobs[name + ".224"] = out
    index = {
        "pillow": pillow_version, "libjpeg_turbo": features.version("libjpeg_turbo"),
        "libwebp": features.version("webp"), "cases": cases,
    }
    blobs["index.json"] = (json.dumps(index, indent=1, sort_keys=True) + "\n").encode()
    with zipfile.ZipFile(OUT / "expected.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
        for name in sorted(blobs):
            z.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), blobs[name], zipfile.ZIP_DEFLATED, 9)
    total = sum(p.stat().st_size for p in OUT.iterdir())
    print(f"{len(cases)} images, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
