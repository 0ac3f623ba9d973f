#!/bin/sh
# Whole trainings in double precision beside PyTorch and Accelerate: the same
# batches from one feed, weights after 50 steps of SGD and after 10 of
# Accelerate's loop (accumulation of 2, clip 1.0). Needs Python with torch,
# torchvision, safetensors and, for its part, accelerate (PEER_PYTHON).
#
# At 64 pixels every norm sees at least 16 values. With fewer (32 pixels) the last
# bit of a double grows to 1e-5 of the loss within 50 steps, in PyTorch too.
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/peer.sh"
peer_needs torch torchvision safetensors

cat >loops.py <<'END'
import sys
import torch
from safetensors.torch import load_file
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import (CosineAnnealingLR, LinearLR, MultiStepLR,
                                      PolynomialLR, SequentialLR)
from peer import batches, check
import json

# as the feed's reader has them: fp32 numbers; y = x mul + add
MEAN = torch.tensor((0.485, 0.456, 0.406))
STD = torch.tensor((0.229, 0.224, 0.225))
MUL, ADD = (1 / (255 * STD)).double(), (-MEAN / STD).double()
WIDTH, CLASSES = 8, 5


class Small(ResNet):
    """torchvision's, with as few channels as MODEL.WIDTH says."""

    def __init__(self, block, layers):
        torch.nn.Module.__init__(self)
        self._norm_layer = torch.nn.BatchNorm2d
        self.inplanes, self.dilation = WIDTH, 1
        self.groups, self.base_width = 1, 64
        self.conv1 = torch.nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(WIDTH)
        self.relu = torch.nn.ReLU(inplace=True)
        self.maxpool = torch.nn.MaxPool2d(3, 2, 1)
        for i, n in enumerate(layers):
            layer = self._make_layer(block, WIDTH << i, n,
                                     stride=2 if i else 1)
            setattr(self, "layer%d" % (i + 1), layer)
        self.avgpool = torch.nn.AdaptiveAvgPool2d((1, 1))
        self.fc = torch.nn.Linear(8 * WIDTH * block.expansion, CLASSES)


def load(depth):
    block = BasicBlock if depth < 50 else Bottleneck
    model = Small(block, {18: [2, 2, 2, 2], 50: [3, 4, 6, 3]}[depth])
    model.load_state_dict(load_file("fresh.safetensors"), strict=True)
    return model.double().train()


def micro(meta, t):
    x = torch.from_numpy(t["image"].copy()).double() * MUL + ADD
    return (x.permute(0, 3, 1, 2).contiguous(),
            torch.from_numpy(t["label"].copy()), meta["last"] == "1")


def groups(model):
    """No decay on norms and biases, by type of the layer."""
    plain = [p for m in model.modules() for n, p in
             m.named_parameters(recurse=False)
             if isinstance(m, torch.nn.BatchNorm2d) or n == "bias"]
    ids = {id(p) for p in plain}
    return [{"params": [p for p in model.parameters() if id(p) not in ids]},
            {"params": plain, "weight_decay": 0}]


def layerwise(model, eta=0.01, decay=1e-3):
    """What LARC(clip=False) does to gradients before torch's SGD."""
    for p in model.parameters():
        if p.dim() > 1:
            w, g = p.detach().norm(), p.grad.norm()
            p.grad += decay * p.detach()
            p.grad *= eta * w / (g + decay * w + 1e-8)


def lars_loop(model):
    sgd = torch.optim.SGD([{"params": [p], "weight_decay":
                            0 if p.dim() > 1 else 1e-3}
                           for p in model.parameters()], 2.0, 0.9)
    rate = PolynomialLR(sgd, 50, power=2)
    losses = []
    for meta, t in batches("batches"):
        x, label, _ = micro(meta, t)
        loss = cross_entropy(model(x), label)
        sgd.zero_grad()
        loss.backward()
        layerwise(model)
        sgd.step()
        rate.step()
        losses.append(loss.item())
    return losses


def sgd_loop(model):
    sgd = torch.optim.SGD(groups(model), 0.05, 0.9, weight_decay=1e-3,
                          nesterov=True)
    warm, total = 10, 50
    rate = SequentialLR(sgd, [LinearLR(sgd, 0.1, total_iters=warm),
                              CosineAnnealingLR(sgd, total - warm)], [warm])
    losses = []
    for meta, t in batches("batches"):
        x, label, _ = micro(meta, t)
        loss = cross_entropy(model(x), label, label_smoothing=0.1)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        rate.step()
        losses.append(loss.item())
    return losses


def accelerate_loop(model):
    from accelerate import Accelerator
    a = Accelerator(cpu=True, gradient_accumulation_steps=2)
    sgd = torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=1e-3)
    rate = MultiStepLR(sgd, [4, 8], 0.5)
    model, sgd, rate = a.prepare(model, sgd, rate)
    losses, two, clipped = [], [], 0
    for meta, t in batches("batches"):
        x, label, last = micro(meta, t)
        with a.accumulate(model):
            loss = cross_entropy(model(x), label)
            a.backward(loss)
            if a.sync_gradients:
                norm = a.clip_grad_norm_(model.parameters(), 1.0)
                clipped += norm.item() > 1
            sgd.step()
            rate.step()
            sgd.zero_grad()
        if last != a.sync_gradients:
            check(False, "micro-steps are Accelerate's")
        two.append(loss.item())
        if last:
            losses.append(sum(two) / 2)
            two = []
    check(clipped > 2, "Accelerate clipped %d times" % clipped)
    return losses


def far(a, b):
    return ((a - b).norm() / b.norm()).item()


what, depth, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(0)
model = load(depth)
start = {n: p.detach().clone() for n, p in model.named_parameters()}
loop = {"SGD": sgd_loop, "LARS": lars_loop, "Accelerate": accelerate_loop}
losses = loop[what](model)
what = "resnet%d and %s, %d steps: " % (depth, what, steps)
log = [json.loads(l) for l in open("run/metrics.jsonl")]
mine = [l["loss"] for l in log if l.get("phase") == "train"]
check(len(mine) == len(losses) == steps, what + "all are there")
e = max(abs(a / b - 1) for a, b in zip(mine, losses))
check(e < 1e-8, what + "loss %.6f to %.6f, furthest %.1e" %
      (losses[0], losses[-1], e))
state = load_file("trained.safetensors")
check(all(t.dtype == torch.float64 for t in state.values() if t.dim()),
      what + "our file is F64")
moved = min(far(p.detach(), start[n]) for n, p in model.named_parameters()
            if start[n].norm() > 0)
e = max((far(state[n], p.detach()), n) for n, p in model.named_parameters())
check(e[0] < 1e-8 < moved, what + "weights: furthest %.1e, %s" % e)
e = max((far(state[n].double(), b.double()), n)
        for n, b in model.named_buffers())
check(e[0] < 1e-8, what + "buffers: furthest %.1e, %s" % e)
END

"$BIN/imgsynth" imagenet made --classes 5 --train 16 --val 0 --size-min 40 \
	--size-max 60 >log 2>&1
"$BIN/imgshard" pack -o sh made/train >log 2>&1
is $? 0 'a data set'

# both NAME DEPTH STEPS KEY VALUE ...
both() {
	name=$1 depth=$2 steps=$3
	shift 3
	set -- MODEL.NAME "resnet$depth" MODEL.WIDTH 8 INPUT.SIZE 64 SEED 3 \
		SOLVER.BATCH 8 SOLVER.BASE_LR 0.05 SOLVER.WEIGHT_DECAY 1e-3 "$@"
	rm -rf run
	"$BIN/imgshard" feed sh/train.json "$@" >batches 2>err
	"$BIN/accel-worker" init -e ref -o fresh.safetensors "$@" \
		MODEL.CLASSES 5 2>err
	"$BIN/accel-worker" train -e ref -o run -w fresh.safetensors "$@" \
		SOLVER.PRECISION fp64 --log-every 1 <batches >log 2>err
	is $? 0 "$name: trained in fp64" || tap_comment "$(tail -n 3 err)"
	"$BIN/ckpt-merge" -o trained.safetensors run/ckpt 2>err
	peer_run "$name" loops.py "$name" "$depth" "$steps"
}

both SGD 18 50 SOLVER.EPOCHS 5 SOLVER.NESTEROV true SOLVER.DECAY_NORM false \
	SOLVER.DECAY_BIAS false SOLVER.LABEL_SMOOTHING 0.1 SOLVER.SCHED cosine \
	SOLVER.WARMUP_EPOCHS 1 SOLVER.WARMUP_FACTOR 0.1 SOLVER.WARMUP_SHIFT true
both LARS 18 50 SOLVER.EPOCHS 5 SOLVER.OPTIMIZER lars SOLVER.LARS_ETA 0.01 \
	SOLVER.BASE_LR 2 SOLVER.SCHED poly SOLVER.POLY_POWER 2
if "$PY" -c 'import accelerate' 2>/dev/null; then
	both Accelerate 18 10 SOLVER.EPOCHS 1 SOLVER.ACCUM 2 \
		SOLVER.CLIP_NORM 1.0 SOLVER.SCHED step SOLVER.GAMMA 0.5 \
		SOLVER.STEP_EPOCHS 0.4,0.8
else
	skip 1 'peer: no accelerate'
fi
done_testing
