"""Make colour.tsv: what torchvision's operations on PIL pictures make of made-up
ones.

    python make-colour.py > colour.tsv

Columns: kind, width and height of the picture (picture() below and in
t/unit/26-colour.c); operation and magnitude as in lib/vision/colour.h; CRC-32 of
the RGB pixels of the result.
"""
import math
import sys
import zlib

import numpy as np
import PIL
import torchvision
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

KINDS = 6
FACTOR = ("Brightness", "Color", "Contrast", "Sharpness")


def picture(kind, w, h):
    s = kind + 1
    out = np.zeros((h, w, 3), np.uint8)
    for y in range(h):
        for x in range(w):
            for c in range(3):
                s = (s * 1664525 + 1013904223) & 0xFFFFFFFF
                n = s >> 24
                out[y, x, c] = (
                    (x * 200 // w + y * (c + 1) + (n & 31)) & 255,
                    90 + (n & 15) + x * 20 // w + 10 * c,
                    (x // 8 + y // 8 + c) % 3 * 100 + c,
                    n,
                    60 * c + 7,
                    (n, 0, 255 if (x ^ y) & 4 else n)[c])[kind]
    return Image.fromarray(out)


def apply(im, op, m):
    """Ours has factors where torchvision adds 1."""
    if op == "Hue":
        return F.adjust_hue(im, m)
    if op == "Grayscale":
        return F.to_grayscale(im, 3)
    if op == "Brightness":
        return F.adjust_brightness(im, m)
    if op == "Color":
        return F.adjust_saturation(im, m)
    if op == "Contrast":
        return F.adjust_contrast(im, m)
    if op == "Sharpness":
        return F.adjust_sharpness(im, m)
    return _apply_op(im, op, m, InterpolationMode.BILINEAR, None)


def crc(im):
    return "%08x" % zlib.crc32(im.tobytes())


def cases():
    """Operations with magnitudes, edges included."""
    for op in ("Identity", "AutoContrast", "Equalize", "Invert", "Grayscale"):
        yield op, 0.0
    for m in (0.033, 0.3, 0.99):
        for s in (m, -m):
            yield "ShearX", s
            yield "ShearY", s
    for m in (0.0, 1.0667, 15.9, 32.0, 101.5, 400.0):
        for s in (m, -m):
            yield "TranslateX", s
            yield "TranslateY", s
    for m in (0.0, 4.5, 30.0, 45.0, 90.0, 126.0, 135.0, 180.0):
        yield "Rotate", m
        yield "Rotate", -m
    for op in FACTOR:
        for m in (0.0, 0.01, 0.1, 0.67, 1.0, 1.033, 1.37, 1.99, 3.5):
            yield op, m
    for m in range(1, 9):
        yield "Posterize", float(m)
    for m in (0.0, 1.0, 8.5, 127.5, 254.0, 255.0, 256.0):
        yield "Solarize", m
    for m in (0.0, 0.003, 0.1, 0.49, 0.5):
        yield "Hue", m
        yield "Hue", -m


if __name__ == "__main__":
    print("# made by make-colour.py with Pillow %s, torchvision %s"
          % (PIL.__version__, torchvision.__version__))
    for kind in range(KINDS):
        for w, h in ((64, 64), (37, 29)):
            im = picture(kind, w, h)
            for op, m in cases():
                if kind in (1, 4) and w == 64 and op in FACTOR[:2]:
                    continue
                print(kind, w, h, op, repr(m), crc(apply(im, op, m)),
                      sep="\t")
