#!/bin/sh
# Batches of a detector beside Pillow and numpy: every pixel, every box.
# Needs Python with Pillow and numpy (PEER_PYTHON).
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"
PY=${PEER_PYTHON:-python3}
"$PY" -c 'import PIL, numpy' 2>/dev/null || skip_all 'peer: no Pillow'

cat >compare.py <<'END_OF_PYTHON'
"""compare.py MODE INSTANCES FOLDER < frames: NAME EQUAL DIFFERENT lines.

MODE is train or eval; sizes are those of Detectron2's default."""
import contextlib, importlib.util, io, json, os, struct, sys
import numpy as np
from PIL import Image, ImageOps

spec = importlib.util.spec_from_file_location(
    "make", os.environ["TOP"] + "/t/golden/make-detect.py")
make = importlib.util.module_from_spec(spec)
with contextlib.redirect_stdout(io.StringIO()):
    spec.loader.exec_module(make)

TYPES = {"U8": np.uint8, "I32": np.int32, "I64": np.int64, "F32": np.float32}


def frames(f):
    while True:
        head = f.read(8)
        if not head:
            return
        h = json.loads(f.read(struct.unpack("<Q", head)[0]))
        meta = h.pop("__metadata__")
        end = max([t["data_offsets"][1] for t in h.values()], default=0)
        data = f.read(end)
        yield meta, {k: np.frombuffer(data[slice(*t["data_offsets"])],
                                      TYPES[t["dtype"]]).reshape(t["shape"])
                     for k, t in h.items()}


def load(path):
    im = Image.open(path)
    return ImageOps.exif_transpose(im).convert("RGB")


def resize(im, w, h):
    """Across, then down, whatever order this Pillow would take."""
    return im.resize((w, im.height), Image.BILINEAR).resize(
        (w, h), Image.BILINEAR)


def objects(coco):
    rank = {c: i for i, c in enumerate(sorted(c["id"]
                                              for c in coco["categories"]))}
    of = {i["id"]: [] for i in coco["images"]}
    for a in coco["annotations"]:
        s = a.get("segmentation")
        if s and isinstance(s, list) and not any(
                len(p) % 2 == 0 and len(p) >= 6 for p in s):
            continue
        if a["image_id"] in of:
            of[a["image_id"]].append((rank[a["category_id"]],
                                      a.get("iscrowd", 0), a))
    return of


def plan(mode, seed, epoch, pos, w, h):
    if mode == "eval":
        return (*make.shape(h, w, 800, 1333), False)
    d = make.draws(seed, pos, epoch, 16)
    size = [640, 672, 704, 736, 768, 800][make.below(d, 6)]
    return (*make.shape(h, w, size, 1333), bool(next(d) >> 63))


def boxes_of(mode, anns, w, h, nw, nh, flip):
    out = []
    for cat, crowd, a in anns:
        if crowd and mode == "train":
            continue
        b = make.box(a["bbox"], w, h, nw, nh, flip)
        if b[0] != "-":
            out.append(([float.fromhex(v) for v in b], cat, crowd,
                        np.float32(a["area"])))
    return out


def main():
    mode, instances, folder = sys.argv[1:]
    coco = json.load(open(instances))
    info = {i["id"]: i for i in coco["images"]}
    anns = objects(coco)
    same = {"pixels": 0, "boxes": 0, "padding": 0, "shapes": 0}
    bad = dict(same)
    seen = []
    seed = 0

    def count(what, good, image):
        (same if good else bad)[what] += 1
        if not good:
            print("# %s of image %d" % (what, image))

    for meta, t in frames(sys.stdin.buffer):
        if meta["t"] != "batch":
            continue
        wide = set()
        for j in range(int(meta["n"])):
            i = info[int(t["image_id"][j])]
            w, h = i["width"], i["height"]
            nh, nw, flip = plan(mode, seed, int(meta["epoch"]),
                                int(meta["pos"]) + j, w, h)
            count("shapes", tuple(t["size"][j]) == (nh, nw) and
                  tuple(t["orig"][j]) == (h, w), i["id"])
            im = resize(load(os.path.join(folder, i["file_name"])), nw, nh)
            want = np.asarray(im)[:, :, ::-1]
            if flip:
                want = want[:, ::-1]
            got = t["image"][j]
            count("pixels", np.array_equal(got[:nh, :nw], want), i["id"])
            count("padding", not got[nh:].any() and not got[:, nw:].any(),
                  i["id"])
            mine = t["box_image"] == j
            theirs = boxes_of(mode, anns[i["id"]], w, h, nw, nh, flip)
            count("boxes", np.array_equal(
                t["boxes"][mine], np.array([b[0] for b in theirs],
                                           np.float32).reshape(-1, 4)) and
                  list(t["category"][mine]) == [b[1] for b in theirs] and
                  list(t["crowd"][mine]) == [b[2] for b in theirs] and
                  list(t["area"][mine]) == [b[3] for b in theirs], i["id"])
            seen.append(i["id"])
            wide.add(w > h)
        top = t["size"].max(axis=0)
        count("shapes", t["image"].shape[1:3] == tuple(-(-top // 32) * 32) and
              (mode == "eval" or len(wide) == 1), 0)
    for what in same:
        print(what, same[what], bad[what])
    print("images", len(set(seen)), 0)


main()
END_OF_PYTHON

cat >turned.py <<'END_OF_PYTHON'
"""Images of all eight orientations, with boxes as they are seen."""
import json, os
import numpy as np
from PIL import Image
rng = np.random.default_rng(8)
os.mkdir("turned")
images, anns = [], []
for k in range(1, 9):
    w, h = 90 + 7 * k, 60 + 3 * k
    a = rng.integers(0, 256, (h // 5, w // 5, 3), dtype=np.uint8)
    im = Image.fromarray(a).resize((w, h), Image.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = k
    im.save("turned/%d.jpg" % k, quality=90, exif=exif)
    if k >= 5:
        w, h = h, w
    images.append(dict(id=k, width=w, height=h, file_name="%d.jpg" % k))
    anns.append(dict(id=k, image_id=k, category_id=3, area=9.5,
                     bbox=[3.25, 4.5, w / 3, h]))
json.dump(dict(images=images, annotations=anns,
               categories=[dict(id=3, name="thing")]), open("turned.json", "w"))
END_OF_PYTHON

# compare NAME MANIFEST MODE INSTANCES FOLDER IMAGES [OPTION...]
compare() {
	name=$1 manifest=$2 mode=$3 instances=$4 folder=$5 images=$6
	shift 6
	if [ "$mode" = eval ]; then
		set -- "$@" --eval -b 1
	else
		set -- "$@" --epochs 1 -b 2
	fi
	"$BIN/imgshard" feed "$manifest" "$@" |
		"$PY" compare.py "$mode" "$instances" "$folder" >table
	is $? 0 "$name: comparison ran"
	grep '^#' table | head -n 20
	grep -v '^#' table >sums
	while read -r what same bad; do
		[ "$what" != images ] || is "$same" "$images" "$name: images"
		is "$bad" 0 "$name: $what: $same equal"
	done <sums
}

expect_status 0 'turned images' "$PY" turned.py
"$BIN/imgshard" pack -q -o turned.keep turned.json turned
"$BIN/imgshard" pack -q -o turned.rows --jpeg rows turned.json turned
compare 'turned' turned.keep/train.json train turned.json turned 8
compare 'turned, rows' turned.rows/train.json train turned.json turned 8
compare 'turned, evaluation' turned.keep/train.json eval turned.json turned 8

# of 28 images of coco-pixabay one is of a shape that waits for the next epoch
for set in coco128:instances_coco128.json:126:train \
	coco-pixabay:instances.json:27:train coco-pixabay:instances.json:30:eval; do
	name=${set%%:*} rest=${set#*:}
	if ! have_data "$name/images.tar"; then
		skip 1 "no shared/data/$name"
		continue
	fi
	json=${DATA%/*}/${rest%%:*} rest=${rest#*:}
	if [ ! -d "$name" ]; then
		mkdir "$name" && tar -xf "$DATA" -C "$name"
		"$BIN/imgshard" pack -q -o "$name.set" "$json" "$DATA"
	fi
	folder=$name
	[ ! -d "$name/train2017" ] || folder=$name/train2017
	compare "$name ${rest#*:}" "$name.set/train.json" "${rest#*:}" "$json" \
		"$folder" "${rest%%:*}"
done
done_testing
