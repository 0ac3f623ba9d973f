"""Make pixels.tsv and edge.tsv: what Pillow makes of a tar of JPEG files, and of
the files of a folder.

    python make-pixels.py ../../../shared/data/imagenet1k-samples/images.tar
    python make-pixels.py ../../../shared/data/jpeg-edge >edge.tsv

Columns: file; CRC-32 of the RGB pixels of the whole image; of the train crops
of 224, 176 and 64 pixels at positions 3i, 3i+1, 3i+2 (seed 0, epoch 0, file i),
flipped where the draw says so; of resize 256, centre 224. The crops are computed
here once more from the definition (data-and-collectives 1.11 and 2.9). Width
and height are resized in two calls, in that order: what Pillow up to 12 does in
one; Pillow 13 chooses the order by itself.

Of a folder: what Pillow refuses, other kinds of files and 16-bit grey are
"refused"; "-" is an evaluation crop of a picture so long that it would be too
large.
"""
import glob
import io
import math
import os
import sys
import tarfile
import zlib

import PIL
from PIL import Image

MASK = (1 << 32) - 1


def philox(ctr, key):
    c, k = list(ctr), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & MASK,
             (a >> 32) ^ c[3] ^ k[1], a & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


class Stream:
    def __init__(self, seed, a, epoch, dom):
        self.key = (seed & MASK, seed >> 32)
        self.rest = (a, epoch, dom)
        self.t = 0

    def u64(self):
        w = philox((self.t >> 1, *self.rest), self.key)
        i = 2 * (self.t & 1)
        self.t += 1
        return w[i] | w[i + 1] << 32

    def unit(self):
        return (self.u64() >> 11) * 2.0 ** -53

    def below(self, n):
        m = self.u64() * n
        if m & (2 ** 64 - 1) < n:
            th = (2 ** 64 - n) % n
            while m & (2 ** 64 - 1) < th:
                m = self.u64() * n
        return m >> 64


def train_crop(w, h, seed, epoch, pos):
    s = Stream(seed, pos, epoch, 16)
    lo, hi = math.log(0.75), math.log(4.0 / 3.0)
    for _ in range(10):
        area = float(w) * h * (0.08 + (1.0 - 0.08) * s.unit())
        ratio = math.exp(lo + (hi - lo) * s.unit())
        cw, ch = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < cw <= w and 0 < ch <= h:
            y = s.below(h - ch + 1)
            x = s.below(w - cw + 1)
            break
    else:
        cw, ch = w, h
        if w / h < 0.75:
            ch = round(w / 0.75)
        elif w / h > 4.0 / 3.0:
            cw = round(h * (4.0 / 3.0))
        y, x = (h - ch) // 2, (w - cw) // 2
    return x, y, cw, ch, s.u64() >> 63


def crc(im):
    return "%08x" % zlib.crc32(im.tobytes())


def resize(im, w, h):
    im = im.resize((w, im.height), Image.BILINEAR)
    return im.resize((w, h), Image.BILINEAR)


def crop(im, size, pos):
    x, y, w, h, flip = train_crop(*im.size, 0, 0, pos)
    out = resize(im.crop((x, y, x + w, y + h)), size, size)
    return out.transpose(Image.FLIP_LEFT_RIGHT) if flip else out


def evaluate(im, short=256, size=224):
    w, h = im.size
    ow, oh = (int(short * w / h), short) if w > h else \
             (short, int(short * h / w))
    im = resize(im, ow, oh)
    x, y = round((ow - size) / 2), round((oh - size) / 2)
    return im.crop((x, y, x + size, y + size))


# Damaged, so that blocks are smoothed: other pixels since libjpeg-turbo 3.
DIFFERS = ["imagetestsuite/f6b4389c3cf0f5997b2e5a4b905aea8d.jpg"]


def columns(data, i):
    im = Image.open(io.BytesIO(data))
    if im.format not in ("JPEG", "MPO", "PNG"):
        return ["refused"]
    if im.mode.startswith("I"):  # 16 bits: convert clips at 255, here refused
        return ["refused"]
    im = im.convert("RGB")
    row = [crc(im)]
    row += [crc(crop(im, s, 3 * i + k)) for k, s in enumerate((224, 176, 64))]
    return row + [crc(evaluate(im)) if max(im.size) < 60 * min(im.size) else "-"]


def folder(root):
    names = sorted(n for n in glob.glob("**/*", root_dir=root, recursive=True)
                   if n.lower().endswith((".jpg", ".jpeg", ".png"))
                   and n not in DIFFERS)
    for i, name in enumerate(names):
        with open(os.path.join(root, name), "rb") as f:
            data = f.read()
        try:
            row = columns(data, i)
        except Exception:
            row = ["refused"]
        print("\t".join([name] + row))


def main():
    print("# made by make-pixels.py with Pillow %s" % PIL.__version__)
    if os.path.isdir(sys.argv[1]):
        return folder(sys.argv[1])
    with tarfile.open(sys.argv[1]) as tar:
        names = [m for m in tar if m.isfile()]
        for i, m in enumerate(names):
            row = columns(tar.extractfile(m).read(), i)
            print("\t".join([m.name] + row))


if __name__ == "__main__":
    main()
