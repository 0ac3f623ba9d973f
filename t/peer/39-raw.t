#!/bin/sh
# Pixels of pack --raw beside Pillow's, and names of 200 bytes in WebDataset.
# Needs Python with Pillow and numpy; webdataset for its part (PEER_PYTHON).
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"
PY=${PEER_PYTHON:-python3}
"$PY" -c 'import PIL, numpy' 2>/dev/null || skip_all 'peer: no Pillow'
I=$BIN/imgshard
data=$TOP/../shared/data/imagenet1k-samples/images.tar

"$BIN/imgsynth" imagenet made -q --classes 2 --train 12 --val 0 --size-min 20 \
	--size-max 300 >/dev/null
mkdir images
cp -r made/train/* images/
[ ! -e "$data" ] || tar xf "$data" -C images --strip-components=1
expect_status 0 'pack --raw 128' "$I" pack -q -o raw --raw 128 images
mkdir unpacked && tar xf raw/train-000000.tar -C unpacked

cat >compare.py <<'END'
import pathlib
import numpy as np
from PIL import Image

n = wrong = 0
for p in sorted(pathlib.Path("images").rglob("*.*")):
    im = Image.open(p).convert("RGB")
    w, h = im.size
    if min(w, h) > 128:
        size = (128 * w // h, 128) if w > h else (128, 128 * h // w)
        im = im.resize(size, Image.BILINEAR)
    key = p.relative_to("images").with_suffix("")
    got = Image.open(pathlib.Path("unpacked") / (str(key).replace(".", "_") + ".ppm"))
    n += 1
    if got.size != im.size or (np.asarray(got) != np.asarray(im)).any():
        wrong += 1
        print("#", p, got.size, im.size)
print(n, "images,", wrong, "differ")
END
"$PY" compare.py >said
is "$(tail -n 1 said)" "$(find images -type f | wc -l) images, 0 differ" \
	"Pillow's pixels, all of them"

if "$PY" -c 'import webdataset' 2>/dev/null; then
	set -- images/*
	for file in "$1"/*; do
		mv "$file" "$1/$(printf '%0200d' 1).jpg"
		break
	done
	"$I" pack -q -o long images >/dev/null
	"$PY" -c 'import webdataset as w
d = [s["__key__"] for s in w.WebDataset("long/train-000000.tar",
                                        shardshuffle=False)]
print(len(d), max(len(k.split("/")[-1]) for k in d))' >said 2>/dev/null
	is "$(cat said)" "$(find images -type f | wc -l) 200" \
		'a name of 200 bytes in WebDataset'
else
	skip 1 'peer: no webdataset'
fi
done_testing
