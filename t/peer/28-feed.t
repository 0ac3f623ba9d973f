#!/bin/sh
# Whole epochs of imgshard feed beside Pillow, row by row: photographs and odd
# files, kept and rewritten as rows, for training and for evaluation, by one rank
# and by one of two. Needs Python with Pillow and numpy (PEER_PYTHON).
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"
PY=${PEER_PYTHON:-python3}
"$PY" -c 'import PIL, numpy' 2>/dev/null || skip_all 'peer: no Pillow'
have_data imagenet1k-samples/images.tar ||
	skip_all 'data: imagenet1k-samples is not here'

cat >compare.py <<'END'
"""compare.py STREAM MANIFEST LIST train|eval SEED: rows of a stream of frames
against Pillow; LIST is what ls prints."""
import glob, importlib.util, io, json, os, struct, sys, tarfile
import numpy as np
from PIL import Image

spec = importlib.util.spec_from_file_location(
    "make", os.environ["TOP"] + "/t/golden/make-pixels.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)
stream, manifest, listing, kind, seed = sys.argv[1:6]
size, seed = 64, int(seed)
files = {}
for name in glob.glob(manifest[:-len(".json")] + "-*.tar"):
    with tarfile.open(name) as tar:
        for m in tar:
            key, ext = m.name.rsplit(".", 1)
            if ext in ("jpg", "png"):
                files[key] = tar.extractfile(m).read()
with open(listing) as f:
    keys = [line.split("\t")[0] for line in f]


def expected(index, epoch, pos):
    im = Image.open(io.BytesIO(files[keys[index]])).convert("RGB")
    if kind == "eval":
        return make.evaluate(im, 73, size)
    x, y, w, h, flip = make.train_crop(*im.size, seed, epoch, pos)
    im = make.resize(im.crop((x, y, x + w, y + h)), size, size)
    return im.transpose(Image.FLIP_LEFT_RIGHT) if flip else im


def frames(f):
    while head := f.read(8):
        header = json.loads(f.read(struct.unpack("<Q", head)[0]))
        meta = header.pop("__metadata__")
        n = max([t["data_offsets"][1] for t in header.values()], default=0)
        yield meta, header, f.read(n)


def tensor(header, data, name, dtype):
    t = header[name]
    return np.frombuffer(data[slice(*t["data_offsets"])],
                         dtype).reshape(t["shape"])


rows = bad = 0
with open(stream, "rb") as f:
    for meta, header, data in frames(f):
        if meta["t"] != "batch":
            continue
        image = tensor(header, data, "image", np.uint8)
        index = tensor(header, data, "index", np.int64)
        for j in range(int(meta["n"])):
            want = np.asarray(expected(index[j], int(meta["epoch"]),
                                       int(meta["pos"]) + j))
            rows += 1
            if not np.array_equal(want, image[j]):
                bad += 1
                print("# epoch %s, position %d: %s" % (
                    meta["epoch"], int(meta["pos"]) + j, keys[index[j]]))
print(rows, "rows,", bad, "differ")
END

mkdir src
tar -xf "$DATA" -C src --strip-components=1
if have_data jpeg-edge; then
	mkdir src/odd
	for f in "$DATA"/reftest/*.jpg "$DATA"/pillow/* "$DATA"/sampling/* \
		"$DATA"/jpegtran/* "$DATA"/misnamed/*; do
		cp "$f" src/odd
	done
fi
for jpeg in keep rows; do
	expect_status 0 "packed: $jpeg" "$BIN/imgshard" pack -q -o $jpeg \
		--on-bad drop --jpeg $jpeg src
	"$BIN/imgshard" ls $jpeg/train.json >$jpeg.list
	n=$(wc -l <$jpeg.list | tr -d ' ')
	feed() {
		"$BIN/imgshard" feed $jpeg/train.json --size 64 --resize 73 \
			--batch 20 --tail exact "$@" >stream
	}
	feed --epochs 2 --seed 7
	is "$("$PY" -W ignore compare.py stream $jpeg/train.json $jpeg.list train 7)" \
		"$((2 * n)) rows, 0 differ" "$jpeg: two epochs of train crops"
	feed --epochs 1 --eval
	is "$("$PY" -W ignore compare.py stream $jpeg/train.json $jpeg.list eval 0)" \
		"$n rows, 0 differ" "$jpeg: evaluation"
	feed --epochs 1 --world 2 --rank 1
	like "$("$PY" -W ignore compare.py stream $jpeg/train.json $jpeg.list train 0)" \
		'^[0-9]+ rows, 0 differ' "$jpeg: the second of two ranks"
done
done_testing
