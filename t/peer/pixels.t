#!/bin/sh
# Pixels beside Pillow, live: real photographs, made-up extremes, odd and damaged
# files of all kinds. Files that Pillow refuses are refused here, and the other
# way round. Needs Python with Pillow and numpy (PEER_PYTHON).
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"
PY=${PEER_PYTHON:-python3}
"$PY" -c 'import PIL, numpy' 2>/dev/null || skip_all 'peer: no Pillow'

cat >compare.py <<'END'
import glob, importlib.util, os, subprocess, sys
import numpy as np
import PIL
from PIL import Image

top, binary = os.environ["TOP"], os.environ["BIN"]


def script(name):
    spec = importlib.util.spec_from_file_location(
        "make", top + "/t/golden/" + name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = script("make-pixels.py")
newer = int(PIL.__version__.split(".")[0]) >= 13
# one call, whatever order of passes this Pillow takes
make.resize = lambda im, w, h: im.resize((w, h), Image.BILINEAR)


def made_up():
    rng = np.random.default_rng(29)
    sizes = [(1, 1), (3, 700), (700, 3), (40, 900), (900, 40), (17, 33),
             (64, 64), (224, 224), (257, 255), (1200, 800), (2, 1500)]
    for i, (w, h) in enumerate(sizes * 3):
        a = rng.integers(0, 256, (h // 7 + 1, w // 7 + 1, 3), dtype=np.uint8)
        im = Image.fromarray(a).resize((w, h), Image.BICUBIC)
        mode = ("RGB", "L", "CMYK")[i % 3] if i % 7 == 0 else "RGB"
        name = "made-%02d-%dx%d-%s.jpg" % (i, w, h, mode)
        im.convert(mode).save(name, quality=85, subsampling=i % 3,
                              progressive=i % 5 == 0)
        yield name


def made_png():
    """Every kind as in the table, but larger."""
    kinds = script("make-png.py")
    png = kinds.png
    kinds.png = lambda *a, **k: png(*a, **{**k, "w": 83, "h": 61})
    for name, data in kinds.files():
        with open(name + ".png", "wb") as f:
            f.write(data)
        yield name + ".png"


def damaged():
    """Files with an end that is odd, and files with bytes changed."""
    rng = np.random.default_rng(31)
    images = [Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
              .resize(s, Image.BICUBIC) for s in ((61, 47), (50, 33))]
    how = [{}, {"progressive": True}, {"restart_marker_rows": 1},
           {"subsampling": 1}]
    for k, kw in enumerate(how):
        im = images[k % 2].convert("CMYK" if k == 3 else "RGB")
        im.save("whole.jpg", **kw)
        data = open("whole.jpg", "rb").read()
        ends = [data[:-2], data[:-2] + bytes(999), data[:-2] + b"\xff" * 999,
                data + data, data[:-2] + b"\xff\xd8", data[:-1],
                data[:-2] + b"\xff\xc4\xff\xff\1\2", data + b"rubbish",
                data[:2] + b"rubbish" + data[2:], b"\0" + data]
        ends += [data[:n] for n in range(0, len(data), 97)]
        for _ in range(250):
            b = bytearray(data)
            for _ in range(rng.integers(1, 4)):
                b[rng.integers(2, len(b))] = rng.choice(
                    [255, 0, 0xd9, rng.integers(256)])
            ends.append(bytes(b))
        for i, b in enumerate(ends):
            name = "end-%d-%03d.jpg" % (k, i)
            with open(name, "wb") as f:
                f.write(b)
            yield name


def png_is_whole(data):
    """Pillow does not look at the CRC of IDAT, and passes over much else."""
    at = 8
    while at + 12 <= len(data):
        n = int.from_bytes(data[at:at + 4], "big")
        if data[at + 4:at + 8] == b"IDAT":
            crc = int.from_bytes(data[at + 8 + n:at + 12 + n], "big")
            if make.zlib.crc32(data[at + 4:at + 8 + n]) != crc:
                return False
        at += 12 + n
    return True


def pillow(name, i):
    """Columns; None: refused; "": not to be compared."""
    try:
        im = Image.open(name)
        if im.format not in ("JPEG", "MPO", "PNG"):
            return None
        im.load()
    except Exception:
        return None
    if im.mode.startswith("I"):  # it would be clipped at 255
        return None
    if max(im.size) > 16384:  # beyond our limits
        return None
    # What is hidden of blocks whose scans are lost is another guess in each
    # release of libjpeg-turbo.
    if os.path.basename(name).startswith("f6b4389c3cf0"):
        return ""
    if im.format == "PNG" and not png_is_whole(open(name, "rb").read()):
        return ""
    im = im.convert("RGB")
    row = [make.crc(im)]
    row += [make.crc(make.crop(im, s, 3 * i + k))
            for k, s in enumerate((224, 176, 64))]
    if max(im.size) < 60 * min(im.size):
        row.append(make.crc(make.evaluate(im)))
    return row


def check(what, names):
    out = []
    for at in range(0, len(names), 500):
        cmd = [binary + "/t/29-pixels.t", "crc13" if newer else "crc"]
        out += subprocess.run(cmd + names[at:at + 500], text=True, check=True,
                              stdout=subprocess.PIPE).stdout.splitlines()
    bad = same = refused = 0
    for i, (name, line) in enumerate(zip(names, out)):
        ours = line.split("\t")[1:]
        theirs = pillow(name, i % 500)
        if ours[0].startswith("error"):
            ours = None
        if theirs == "":
            refused += 1
        elif theirs is None or ours is None:
            refused += 1
            if theirs != ours:
                bad += 1
                print("# %s: %s, Pillow: %s" % (name, line, theirs))
        elif ours[:len(theirs)] == theirs:
            same += 1
        elif name.startswith("end-1"):
            refused += 1  # progressive and damaged: see pillow()
        else:
            bad += 1
            print("# differs: %s %s %s" % (name, ours, theirs))
    print("%s %d %d %d" % (what, same, bad, refused))


check("made", list(made_up()))
check("png", list(made_png()))
check("damaged", list(damaged()))
for what in sys.argv[1:]:
    names = sorted(n for n in glob.glob(what + "/**/*", recursive=True)
                   if os.path.isfile(n) and not n.endswith((".tsv", ".md",
                                                            ".tar", ".txt")))
    check(os.path.basename(what), names)
END

dirs=
# folder NAME TAR [MEMBER]: what is in a tar of a data set
folder() {
	have_data "$2" || return 0
	[ -d "$1" ] || dirs="$dirs $1"
	mkdir -p "$1"
	tar -xf "$DATA" -C "$1" ${3:+"$3"}
}
folder photos imagenet1k-samples/images.tar
folder pixabay coco-pixabay/images.tar
folder coco coco128/images.tar
folder hostile jpeg-edge/fuzz.tar
folder caltech caltech101/images.tar val
have_data jpeg-edge && dirs="$dirs $DATA"
# ALL=yes: the thousands of small ones too, which takes a minute
if [ -n "${ALL:-}" ]; then
	folder caltech caltech101/images.tar train
	folder cifar cifar10-jpg/images.tar
	folder nette imagenette224/val_flat.tar
	folder inner imagenette224/train_nested.tar
	for t in inner/*.tar; do
		[ -e "$t" ] && tar -xf "$t" -C nette
	done
	dirs="${dirs% inner}"
else
	folder cifar cifar10-jpg/images.tar test/cat
fi
# shellcheck disable=SC2086
expect_status 0 'comparison ran' "$PY" -W ignore compare.py $dirs
cp out table
grep '^#' table
grep -v '^#' table >sums
while read -r what same bad refused; do
	is "$bad" 0 "$what: $same files equal, $refused refused by both or passed over"
done <sums
done_testing
