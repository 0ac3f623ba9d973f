#!/usr/bin/env python3
"""Makes detect.tsv: shapes, choices and boxes of detection, found again.

    python3 make-detect.py > detect.tsv
    python3 make-detect.py ../shared/data > coco.tsv

Written from the description of Detectron2's transforms (ResizeShortestEdge,
RandomFlip, transform_instance_annotations, filter_empty_instances), with numpy
for fp32; the random numbers are Philox4x32-10 written anew. Nothing of the
toolkit is used.

    plan  seed epoch pos w h  out_w out_h flip
    box   w h out_w out_h flip  x y bw bh  x0 y0 x1 y1    (hex floats, or "-")

coco.tsv has, of every image of coco128 and coco-pixabay in the order of their
ids, what training sees at that position of epoch 0 with seed 0, and evaluation
(800, 1333): name, id, and the CRC-32 of the pixels, BGR, of either. They are made
by Pillow, across first and then down (what Pillow up to 12 does at once).
"""
import io
import json
import sys
import tarfile
import zlib

import numpy as np

M0, M1, W0, W1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85
MASK = 0xFFFFFFFF


def philox(c, k):
    c, k = list(c), list(k)
    for i in range(10):
        if i:
            k = [(k[0] + W0) & MASK, (k[1] + W1) & MASK]
        p0, p1 = M0 * c[0], M1 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & MASK,
             (p0 >> 32) ^ c[3] ^ k[1], p0 & MASK]
    return c


def draws(seed, a, epoch, domain):
    t = 0
    while True:
        w = philox((t // 2, a, epoch, domain), (seed & MASK, seed >> 32))
        yield w[0] | w[1] << 32 if t % 2 == 0 else w[2] | w[3] << 32
        t += 1


def below(d, n):
    while True:
        m = next(d) * n
        if (m & (1 << 64) - 1) >= (1 << 64) % n:
            return m >> 64


def shape(h, w, size, most):
    """ResizeShortestEdge.get_output_shape"""
    scale = size * 1.0 / min(h, w)
    if h < w:
        newh, neww = size * 1.0, scale * w
    else:
        newh, neww = scale * h, size * 1.0
    if max(newh, neww) > most:
        scale = most * 1.0 / max(newh, neww)
        newh, neww = newh * scale, neww * scale
    return int(newh + 0.5), int(neww + 0.5)


def box(b, w, h, nw, nh, flip):
    f = np.float32
    x0, y0 = f(b[0]), f(b[1])
    x1, y1 = f(x0 + f(b[2])), f(y0 + f(b[3]))
    xs = [float(v) * (nw * 1.0 / w) for v in (x0, x1)]
    ys = [float(v) * (nh * 1.0 / h) for v in (y0, y1)]
    if flip:
        xs = [nw - v for v in xs]
    out = [min(xs), min(ys), max(xs), max(ys)]
    out = [max(v, 0) for v in out]
    out = [f(min(v, m)) for v, m in zip(out, (nw, nh, nw, nh))]
    if f(out[2] - out[0]) > f(1e-5) and f(out[3] - out[1]) > f(1e-5):
        return [float(v).hex() for v in out]
    return ["-"] * 4


def pixels(data, nh, nw, flip):
    from PIL import Image, ImageOps
    im = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    im = im.resize((nw, im.height), Image.BILINEAR)
    a = np.asarray(im.resize((nw, nh), Image.BILINEAR))[:, :, ::-1]
    a = a[:, ::-1] if flip else a
    return "%08x" % zlib.crc32(np.ascontiguousarray(a).tobytes())


def sets(data):
    print("# made by make-detect.py")
    for name, file in (("coco128", "instances_coco128.json"),
                       ("coco-pixabay", "instances.json")):
        coco = json.load(open("%s/%s/%s" % (data, name, file)))
        tar = tarfile.open("%s/%s/images.tar" % (data, name))
        of = {m.name.split("/")[-1]: m for m in tar if m.isfile()}
        images = sorted(coco["images"], key=lambda i: i["id"])
        for pos, i in enumerate(images):
            jpeg = tar.extractfile(of[i["file_name"]]).read()
            w, h = i["width"], i["height"]
            d = draws(0, pos, 0, 16)
            size = [640, 672, 704, 736, 768, 800][below(d, 6)]
            train = pixels(jpeg, *shape(h, w, size, 1333), next(d) >> 63)
            print(name, i["id"], train,
                  pixels(jpeg, *shape(h, w, 800, 1333), False), sep="\t")


def main():
    if len(sys.argv) > 1:
        sets(sys.argv[1])
        return
    rng = np.random.default_rng(4)
    print("# made by make-detect.py")
    sizes = [640, 672, 704, 736, 768, 800]
    for i in range(40):
        w, h = (int(v) for v in rng.integers(50, 1400, 2))
        seed = int(rng.integers(0, 1 << 50)) if i % 3 else i
        epoch, pos = int(rng.integers(0, 99)), int(rng.integers(0, 1 << 31))
        d = draws(seed, pos, epoch, 16)
        nh, nw = shape(h, w, sizes[below(d, 6)], 1333)
        print("plan", seed, epoch, pos, w, h, nw, nh, next(d) >> 63, sep="\t")
    for i in range(120):
        w, h = (int(v) for v in rng.integers(2, 900, 2))
        nh, nw = shape(h, w, int(rng.choice(sizes)), 1333)
        flip = int(rng.integers(0, 2))
        b = [round(float(v), int(rng.integers(0, 4)))
             for v in rng.uniform((-w / 3, -h / 3, -5, -5), (w, h, w, h))]
        if i % 10 == 0:
            b[2 + i // 10 % 2] = [0, 1e-5, 1e-6][i // 10 % 3]
        print("box", w, h, nw, nh, flip, *b, *box(b, w, h, nw, nh, flip),
              sep="\t")


if __name__ == "__main__":
    main()
