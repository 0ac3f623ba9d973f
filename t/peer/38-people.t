#!/bin/sh
# What show says of a crop is what Pillow makes of it, .idx files are what
# Python's tarfile finds, and DALI reads shards by them. Needs Python with Pillow
# and numpy (PEER_PYTHON), and one with nvidia.dali (DALI_PYTHON, default the
# same); a GPU is not needed.
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"
I=$BIN/imgshard
PY=${PEER_PYTHON:-python3}
DALI=${DALI_PYTHON:-$PY}
"$PY" -c 'import PIL, numpy' 2>/dev/null || skip_all 'peer: no Pillow'

"$BIN/imgsynth" imagenet photos --classes 4 --train 12 --val 1 >/dev/null 2>&1
"$I" pack -o sh --shard-count 20 photos/train >/dev/null || exit 1

# ---- show
cat >crops.py <<'END'
import io, json, subprocess, sys
import numpy as np
from PIL import Image

tool, manifest, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
mode = sys.argv[4:]
wrong = 0
for n in range(0, 48, 5):
    told = json.loads(subprocess.check_output(
        [tool, "show", manifest, "#%d" % n, "--size", str(size), "--batch", "8",
         "--epoch", "2", "--json", "-o", "seen.ppm", *mode]))
    file = subprocess.check_output([tool, "cat", manifest, "#%d" % n])
    at = told["seen"][0]
    im = Image.open(io.BytesIO(file)).convert("RGB")
    if im.size != (told["width"], told["height"]):
        wrong += 1
    box = (at["x"], at["y"], at["x"] + at["w"], at["y"] + at["h"])
    # one pass after the other: every Pillow does that in one order
    if "--eval" in mode:
        w, h = at["resized_width"], at["resized_height"]
        im = im.resize((w, im.height), Image.BILINEAR)
        im = im.resize((w, h), Image.BILINEAR).crop(box)
    else:
        im = im.crop(box).resize((size, at["h"]), Image.BILINEAR)
        im = im.resize((size, size), Image.BILINEAR)
    if at["flip"] == "yes":
        im = im.transpose(Image.FLIP_LEFT_RIGHT)
    if not np.array_equal(np.array(im), np.array(Image.open("seen.ppm"))):
        print("sample", n, "differs")
        wrong += 1
sys.exit(wrong > 0)
END
expect_status 0 'train: Pillow makes the same of what show says' "$PY" crops.py \
	"$I" sh/train.json 48
expect_status 0 'eval: the same' "$PY" crops.py "$I" sh/train.json 48 --eval

# ---- .idx
cat >idx.py <<'END'
import sys, tarfile

for name in sys.argv[1:]:
    samples, last, seen = [], None, set()
    for m in tarfile.open(name):
        folder, slash, base = m.name.rpartition("/")
        stem, dot, ext = base.partition(".")
        if not m.isreg() or not stem or not dot:
            continue
        key = folder + slash + stem
        if key != last or ext in seen:
            samples.append([])
            last, seen = key, set()
        seen.add(ext)
        samples[-1].append("%s %d %d %s" % (ext, m.offset_data, m.size, m.name))
    text = "v1.2 %d\n" % len(samples) + "".join(" ".join(s) + "\n" for s in samples)
    if open(name[:-4] + ".idx").read() != text:
        print(name, "has another index")
        sys.exit(1)
END
expect_status 0 'pack: .idx are what tarfile finds' "$PY" idx.py sh/*.tar
mkdir foreign
for tar in webdataset-shards/imagenette-a-000000.tar imagenet1k-samples/images.tar \
	caltech101/images.tar; do
	if have_data "$tar"; then
		ln -s "$DATA" "foreign/$(dirname "$tar").tar"
	fi
done
for tar in foreign/*.tar; do
	if [ ! -e "$tar" ]; then
		skip 2 'data: no tars of others'
		break
	fi
	expect_status 0 "$tar: index --dali" "$I" index --dali "$tar"
	expect_status 0 'is what tarfile finds' "$PY" idx.py "$tar"
done

# ---- DALI
cat >look.py <<'END'
import glob, hashlib, sys
from nvidia.dali import fn, pipeline_def

tars = sys.argv[1:]


@pipeline_def(batch_size=1, num_threads=1, device_id=None)
def pipe():
    image, label = fn.readers.webdataset(
        paths=tars, index_paths=[t[:-4] + ".idx" for t in tars],
        ext=["jpg;png", "cls"], missing_component_behavior="error", name="r")
    return image, label


p = pipe()
p.build()
for _ in range(p.epoch_size("r")):
    image, label = p.run()
    print(hashlib.md5(bytes(image.at(0))).hexdigest(), bytes(label.at(0)).decode())
END
if "$DALI" -c 'import nvidia.dali' 2>/dev/null; then
	expect_status 0 'DALI reads the shards' "$DALI" look.py sh/*.tar
	"$I" ls sh/train.json | while IFS='	' read -r key label rest; do
		echo "$("$I" cat sh/train.json "$key" | md5sum | cut -d' ' -f1) $label"
	done >want
	same out want 'and finds every image and label, in their order'
else
	skip 2 'dali: not here'
fi

done_testing
