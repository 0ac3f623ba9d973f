"""Make png.tsv: small PNG files of every kind and what Pillow makes of them.

    python make-png.py > png.tsv

Columns: name; CRC-32 of the RGB pixels after Image.convert("RGB"), or
"refused"; the file in base64. The files are written here chunk by chunk, since
Pillow itself writes neither interlaced ones nor 16-bit colour.
"""
import base64
import io
import struct
import zlib

import PIL
from PIL import Image

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16),
          6: (8, 16)}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
         (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def sample(x, y, c, depth, top):
    """Varied; of 16 bits the high byte is not what rounding gives."""
    v = (x * 37 + y * 101 + c * 59 + (x * y) % 5) % 256
    if depth == 16:
        return v << 8 | (255 - v)
    return (v >> (8 - depth)) % top


def row_bytes(values, depth):
    if depth == 16:
        return b"".join(struct.pack(">H", v) for v in values)
    bits = "".join(format(v, "0%db" % depth) for v in values)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


def paeth(a, b, c):
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    return a if pa <= pb and pa <= pc else b if pb <= pc else c


def filtered(rows, bpp):
    out, above = b"", bytes(len(rows[0]))
    for n, row in enumerate(rows):
        kind, line = n % 5, bytearray()
        for i, v in enumerate(row):
            a = row[i - bpp] if i >= bpp else 0
            b, c = above[i], above[i - bpp] if i >= bpp else 0
            line.append((v - (0, a, b, (a + b) // 2, paeth(a, b, c))[kind])
                        % 256)
        out += bytes([kind]) + bytes(line)
        above = row
    return out


def png(kind, depth, interlace=0, w=9, h=6, colours=None, extra=b""):
    """colours: entries of the palette, fewer than there may be indices."""
    n = CHANNELS[kind]
    top = 1 << depth
    bpp = max(1, n * depth // 8)

    def rows(xs, ys):
        return [row_bytes([sample(x, y, c, depth, top)
                           for x in xs for c in range(n)], depth) for y in ys]
    data = b""
    if interlace:
        for x0, y0, dx, dy in ADAM7:
            xs, ys = range(x0, w, dx), range(y0, h, dy)
            if len(xs) and len(ys):
                data += filtered(rows(xs, ys), bpp)
    else:
        data = filtered(rows(range(w), range(h)), bpp)
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(
        ">IIBBBBB", w, h, depth, kind, 0, 0, interlace))
    if kind == 3:
        entries = colours or top
        out += chunk(b"PLTE", bytes((i * 73 + 11 * c + i * i * c) % 256
                                    for i in range(entries) for c in range(3)))
    return (out + extra + chunk(b"IDAT", zlib.compress(data, 9)) +
            chunk(b"IEND", b""))


def files():
    for kind in sorted(DEPTHS):
        for depth in DEPTHS[kind]:
            for interlace in (0, 1):
                small = 64 if kind == 3 and depth == 8 else None
                yield ("kind%d-%02d%s" % (kind, depth,
                                          "-adam7" if interlace else ""),
                       png(kind, depth, interlace, colours=small))
    yield "trns-palette", png(3, 4, extra=chunk(b"tRNS", b"\0\x40\x80"))
    yield "trns-grey", png(0, 8, extra=chunk(b"tRNS", b"\0\x25"))
    yield "trns-grey2", png(0, 2, extra=chunk(b"tRNS", b"\0\x01"))
    yield "trns-rgb", png(2, 8, extra=chunk(b"tRNS", b"\0\0\0\x3b\0\x76"))
    yield "trns-rgb16", png(2, 16, w=3, h=2, extra=chunk(b"tRNS", bytes(6)))
    yield "gamma", png(2, 8, w=5, h=5,
                       extra=chunk(b"gAMA", struct.pack(">I", 100000)) +
                       chunk(b"sRGB", b"\0"))
    yield "exif", png(0, 8, w=5, h=4, extra=chunk(
        b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"))
    yield "one-pixel", png(6, 8, w=1, h=1)
    yield "one-pixel-adam7", png(2, 8, 1, w=1, h=1)


def pixels(data):
    im = Image.open(io.BytesIO(data))
    im.load()
    if im.mode.startswith("I"):
        return "refused"
    return "%08x" % zlib.crc32(im.convert("RGB").tobytes())


if __name__ == "__main__":
    print("# made by make-png.py with Pillow", PIL.__version__)
    for name, data in files():
        print(name, pixels(data), base64.b64encode(data).decode(), sep="\t")
