#!/bin/sh
# Pixels beside Pillow, live: real photographs, made-up extremes, odd kinds, PNG.
# Needs Python with Pillow and numpy (PEER_PYTHON).
. "${TOP:-$(dirname "$0")/../..}/t/lib/tap.sh"
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


def pillow(name, i):
    try:
        im = Image.open(name)
        if im.format not in ("JPEG", "MPO", "PNG"):
            return None
        im.load()
        if im.mode.startswith("I"):
            return None
        im = im.convert("RGB")
    except Exception:
        return None
    row = [make.crc(im)]
    row += [make.crc(make.crop(im, s, 3 * i + k))
            for k, s in enumerate((224, 176, 64))]
    if max(im.size) < 60 * min(im.size):
        row.append(make.crc(make.evaluate(im)))
    return row


def check(what, names):
    cmd = [binary + "/t/29-pixels.t", "crc13" if newer else "crc"]
    out = subprocess.run(cmd + names, stdout=subprocess.PIPE, check=True,
                         text=True).stdout.splitlines()
    bad = same = refused = 0
    for i, (name, line) in enumerate(zip(names, out)):
        ours = line.split("\t")[1:]
        theirs = pillow(name, i)
        if theirs is None or ours[0].startswith("error"):
            refused += 1
            if (theirs is None) != ours[0].startswith("error"):
                print("# %s: %s, Pillow: %s" % (name, ours[0], theirs))
        elif ours[:len(theirs)] == theirs:
            same += 1
        else:
            bad += 1
            print("# differs: %s %s %s" % (name, ours, theirs))
    print("%s %d %d %d" % (what, same, bad, refused))


check("made", list(made_up()))
check("png", list(made_png()))
for what in sys.argv[1:]:
    names = sorted(n for n in glob.glob(what + "/**/*", recursive=True)
                   if n.lower().endswith((".jpg", ".jpeg", ".png")))
    check(os.path.basename(what), names)
END

dirs=
if have_data imagenet1k-samples/images.tar; then
	mkdir photos && tar -xf "$DATA" -C photos && dirs=photos
fi
if have_data jpeg-edge; then
	dirs="$dirs $DATA/reftest $DATA/libjpeg-turbo $DATA/pillow $DATA/sampling"
	dirs="$dirs $DATA/misnamed"
fi
if have_data coco-pixabay/images.tar; then
	mkdir pixabay && tar -xf "$DATA" -C pixabay && dirs="$dirs pixabay"
fi
if have_data cifar10-jpg/images.tar; then
	mkdir cifar && tar -xf "$DATA" -C cifar test/cat && dirs="$dirs cifar"
fi
# shellcheck disable=SC2086
expect_status 0 'comparison ran' "$PY" compare.py $dirs
cp out table
grep '^#' table
grep -v '^#' table >sums
while read -r what same bad refused; do
	is "$bad" 0 "$what: $same files equal, $refused not compared"
done <sums
done_testing
