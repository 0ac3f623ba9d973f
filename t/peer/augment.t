#!/bin/sh
# Augmentation beside torchvision, live: operations on photographs, magnitudes,
# policies from file to frame, and training on erased and mixed batches beside
# PyTorch in float64. Needs Python with torch, torchvision, safetensors
# (PEER_PYTHON).
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/peer.sh"
peer_needs torch torchvision safetensors

cat >lib.py <<'END'
from peer import batches, binary, check, script, top
import json, os, subprocess, sys
import numpy as np


def out_of(*cmd):
    return subprocess.run(cmd, check=True, stdout=subprocess.PIPE,
                          text=True).stdout
END

cat >ops.py <<'END'
from lib import *
import glob, random
from PIL import Image

make = script("make-colour.py")


def photos():
    random.seed(5)
    for name in sorted(glob.glob("photos/**/*.JPEG", recursive=True))[::9]:
        im = Image.open(name).convert("RGB")
        w, h = random.choice([(224, 224), (176, 176), (97, 60)])
        yield im.resize((w, h), Image.BICUBIC)
    for kind in range(make.KINDS):
        yield make.picture(kind, 41, 41)
        yield make.picture(kind, 2, 3)


cases = [(op, m) for op, m in make.cases()]
cases += [("Rotate", random.uniform(-135, 135)) for _ in range(20)]
cases += [("ShearX", random.uniform(-1, 1)) for _ in range(5)]
cases += [(op, random.uniform(0, 2)) for _ in range(5) for op in make.FACTOR]
bad, n = {}, 0
for im in photos():
    with open("raw", "wb") as f:
        f.write(im.tobytes())
    args = [str(a) for op, m in cases for a in (op, repr(m))]
    ours = out_of(binary + "/t/26-colour.t", "crc", "raw", str(im.width),
                  str(im.height), *args).split()
    for (op, m), crc in zip(cases, ours):
        n += 1
        if crc != make.crc(make.apply(im, op, m)):
            bad.setdefault(op, []).append((im.size, m))
for op in bad:
    print("#", op, bad[op][:5], len(bad[op]))
check(n > 3000 and not bad, "%d operations on pictures, all bits" % n)

make = script("make-magnitudes.py")
now = out_of(sys.executable, top + "/t/golden/make-magnitudes.py")
then = open(top + "/t/golden/magnitudes.tsv").read()
check(now.splitlines()[1:] == then.splitlines()[1:],
      "magnitudes as they were recorded")
END

# The whole way: file, crop, mirror, policy.
cat >policies.py <<'END'
from lib import *
from PIL import Image

colour, pixels = script("make-colour.py"), script("make-pixels.py")
files = [l.split("\t") for l in open("files").read().splitlines()]
for kind in ("trivial", "rand", "auto"):
    draws = out_of(binary + "/t/26-policy.t", "draw", kind, "96", "0", "0",
                   str(len(files))).splitlines()
    same = n = 0
    for meta, t in batches("feed." + kind):
        for j in range(int(meta["n"])):
            p = int(meta["pos"]) + j
            if p >= len(files):
                continue
            im = Image.open(files[p][1]).convert("RGB")
            want = pixels.crop(im, 96, p)
            words = draws[p].split()
            for op, m in zip(words[::2], words[1::2]):
                want = colour.apply(want, op, float(m))
            n += 1
            same += np.array_equal(np.asarray(want), t["image"][j])
    check(n > 30 and same == n,
          "%s: %d of %d pictures from file to frame" % (kind, same, n))
END

cat >train.py <<'END'
from lib import *
import torch, torchvision
from safetensors.torch import load_file
from torchvision.transforms.v2 import CutMix, MixUp

CLASSES, LR = 3, 0.02
# as fp32 has them, which a network of few pixels sees: y = x mul + add
MEAN, STD = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
MUL, ADD = (1 / (255 * STD)).double(), (-MEAN / STD).double()


def batch(meta, t):
    """As torchvision does it: normalise, erase, then mix the batch."""
    x = torch.from_numpy(t["image"].copy()).double()
    x = (x * MUL + ADD).permute(0, 3, 1, 2)
    for im, (top_, left, bottom, right) in zip(x, t["erase"]):
        im[:, top_:bottom, left:right] = 0
    kind, lam = meta["mix"], float(meta["mix.lambda"])
    m = (MixUp if kind == "mixup" else CutMix)(num_classes=CLASSES)
    box = [int(meta.get("mix." + k, 0))
           for k in ("left", "top", "right", "bottom")]
    m.make_params = lambda flat: dict(lam=lam, lam_adjusted=lam, box=box)
    hot = torch.nn.functional.one_hot(
        torch.from_numpy(t["label"].copy()), CLASSES).double()
    return m(x, hot)


model = torchvision.models.resnet18(num_classes=CLASSES)
model.load_state_dict(load_file("fresh.safetensors"))
model = model.double().train()
start = {n: p.detach().clone() for n, p in model.named_parameters()}
sgd = torch.optim.SGD(model.parameters(), LR, 0.9, weight_decay=1e-4)
loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
kinds, losses, erased = set(), [], 0
sums = 0.0
for meta, t in batches("mixed"):
    x, hot = batch(meta, t)
    kinds.add(meta["mix"])
    erased += int((t["erase"][:, 2] > 0).sum())
    loss = loss_of(model(x), hot) * len(x) / int(meta["rows"])
    loss.backward()
    sums += loss.item()
    if meta["last"] == "1":
        sgd.step()
        sgd.zero_grad()
        losses.append(sums)
        sums = 0.0
check(kinds == {"mixup", "cutmix"} and erased > 2,
      "batches of both kinds, %d rectangles" % erased)
log = [json.loads(l) for l in open("run/metrics.jsonl")]
ours = [l["loss"] for l in log if l.get("phase") == "train"]
e = max(abs(a / b - 1) for a, b in zip(ours, losses))
check(len(ours) == len(losses) and e < 1e-8,
      "losses %s, off by %.1e" % (" ".join("%.6f" % v for v in ours), e))
state = load_file("trained.safetensors")
far = max((((state[n].double() - p) .norm() / (p - start[n]).norm()).item(), n)
          for n, p in model.named_parameters())
check(far[0] < 1e-6, "weights: furthest %.1e of what the steps moved, %s" % far)
END

if have_data imagenet1k-samples/images.tar; then
	mkdir photos && tar -xf "$DATA" -C photos
fi
peer_run ops ops.py

"$BIN/imgsynth" imagenet made --classes 3 --train 15 --val 0 --size-min 90 \
	--size-max 200 >log 2>&1
"$BIN/imgshard" pack -o sh made/train >log 2>&1
is $? 0 'a data set'
"$BIN/imgshard" order sh/train.json --epochs 1 >rows
while read -r pos sample key; do
	printf '%s\t%s\n' "$pos" "$(find made/train -path "*$key*")"
	: "$sample"
done <rows >files
for kind in trivial rand auto; do
	"$BIN/imgshard" feed sh/train.json --epochs 1 SOLVER.BATCH 15 \
		INPUT.SIZE 96 INPUT.POLICY $kind >feed.$kind
done
peer_run policies policies.py

set -- MODEL.NAME resnet18 INPUT.SIZE 32 SOLVER.BATCH 8 SOLVER.ACCUM 2 \
	SOLVER.EPOCHS 0.7 SOLVER.BASE_LR 0.02 SOLVER.LABEL_SMOOTHING 0.1 \
	INPUT.POLICY trivial INPUT.ERASE 0.4 INPUT.MIXUP 0.2 INPUT.CUTMIX 1 SEED 3
"$BIN/imgshard" feed sh/train.json "$@" >mixed 2>err
is $? 0 'mixed batches'
"$BIN/accel-worker" init -e ref -o fresh.safetensors "$@" MODEL.CLASSES 3 2>err
"$BIN/accel-worker" train -e ref -o run -w fresh.safetensors "$@" \
	SOLVER.PRECISION fp64 --log-every 1 <mixed >log 2>err
is $? 0 'trained on in fp64'
"$BIN/ckpt-merge" -o trained.safetensors run/ckpt 2>err
is $? 0 'joined'
peer_run train train.py
done_testing
