#!/bin/sh
# ResNets beside PyTorch, live: same weights, same batch, judged against
# PyTorch in float64; model files both ways. Needs Python with torch,
# torchvision and safetensors (PEER_PYTHON).
#
# PyTorch's own fp32 has two distances from float64, for its order of summation
# follows the layout of memory. In channels_last ("nhwc"), which is our layout
# too, its convolutions add all channels in one chain; in its other layout
# ("nchw") they add them by sixteens, which rounds less. Ours must be no further
# away than either. Where the processor has no matrix tiles (tiles.h) our 3x3
# convolutions are oneDNN's on [N,H,W,C], with their one chain: then it may be
# twice the second. A single batch can have an activation within rounding of
# zero, where any of the three jumps, so the median of three batches is compared.
. "${TOP:-$(dirname "$0")/../..}/t/lib/tap.sh"
PY=${PEER_PYTHON:-python3}
"$PY" -c 'import torch, torchvision, safetensors' 2>/dev/null ||
	skip_all 'peer: no torch, torchvision, safetensors'

cat >compare.py <<'END'
import importlib.util, os, statistics, subprocess, sys
import torch, torchvision
from safetensors.torch import load_file, save_file

top, binary = os.environ["TOP"], os.environ["BIN"]
spec = importlib.util.spec_from_file_location(
    "make", top + "/t/golden/make-resnet.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)
LR, BATCH = 0.02, 8
SEEDS = 1004, 1005, 1006


def check(good, text):
    print("%s - %s" % ("ok" if good else "not ok", text))


def train(depth, dtype, layout, batch, steps):
    name = "resnet%d" % depth
    x, label, _ = batch
    x = x.to(dtype).contiguous(memory_format=layout)
    model = getattr(torchvision.models, name)(num_classes=make.CLASSES)
    model = model.to(dtype).to(memory_format=layout)
    make.fill(model, depth)
    model.train()
    sgd = torch.optim.SGD(model.parameters(), LR, 0.9, weight_decay=1e-4)
    r = {"loss": []}
    for step in range(steps):
        sgd.zero_grad()
        logits = model(x)
        loss = torch.nn.functional.cross_entropy(logits, label)
        loss.backward()
        r["loss"].append(loss.item())
        if step == 0:
            r["logits"] = logits.detach().double()
            r["grad"] = {n: p.grad.double().clone()
                         for n, p in model.named_parameters()}
            r["buffer"] = {n: b.double().clone()
                           for n, b in model.named_buffers() if b.dim()}
        sgd.step()
    return r


def far(a, b):
    return ((a.double() - b).norm() / b.norm()).item()


def errors(a, b):
    return sorted(((far(a[n], b[n]), n) for n in b), reverse=True)


def ours(engine, dtype, depth, batch):
    name = "resnet%d" % depth
    _, label, pixels = batch
    model = getattr(torchvision.models, name)(num_classes=make.CLASSES)
    make.fill(model, depth)
    save_file(model.state_dict(), "weights.safetensors")
    save_file({"image": torch.from_numpy(pixels), "label": label,
               "lr": torch.tensor([LR], dtype=torch.float64)},
              "batch.safetensors")
    subprocess.run([binary + "/t/43-golden-resnet.t", engine, dtype, name,
                    "weights.safetensors", "batch.safetensors",
                    "out.safetensors", "state.safetensors"],
                   check=True, stderr=subprocess.DEVNULL)
    out = load_file("out.safetensors")
    part = {"grad": {}, "buffer": {}}
    for n, t in out.items():
        kind, _, rest = n.partition("/")
        if rest and t.dim():
            part[kind][rest] = t.double()
    part["loss"], part["logits"] = out["loss"].tolist(), out["logits"]
    return model, part


def distances(r, wide):
    """From float64: worst and median gradient, logits, worst buffer."""
    g, b = errors(r["grad"], wide["grad"]), errors(r["buffer"], wide["buffer"])
    return [g[0][0], g[len(g) // 2][0], far(r["logits"], wide["logits"]),
            b[0][0]]


WHAT = "worst gradient", "median gradient", "logits", "worst buffer"


def has_tiles(engine):
    line = subprocess.run(
        [binary + "/accel-worker", "bench", "-q", "-e", engine, "-n", "1",
         "--warm", "0", "MODEL.NAME", "resnet18", "MODEL.WIDTH", "8",
         "INPUT.SIZE", "32", "SOLVER.BATCH", "2"],
        check=True, capture_output=True, text=True).stdout
    return "tiles amx" in line


def beside(what, rows, tiles):
    """Medians over batches of (ours, nhwc, nchw)."""
    for i, name in enumerate(WHAT):
        o, nhwc, nchw = (statistics.median(r[who][i] for r in rows)
                         for who in range(3))
        check(o <= nhwc and o <= (1 if tiles else 2) * nchw,
              what + "%s: from float64 %.1e, torch fp32 nhwc %.1e, nchw %.1e" %
              (name, o, nhwc, nchw))


def compare(engine, dtype, depth, tolerance):
    what = "resnet%d, %s %s: " % (depth, engine, dtype)
    nchw, nhwc = torch.contiguous_format, torch.channels_last
    rows = []
    for seed in SEEDS if engine != "ref" else SEEDS[:1]:
        batch = make.batch(seed, BATCH)
        first = seed == SEEDS[0]
        wide = train(depth, torch.float64, nchw, batch, 3 if first else 1)
        model, got = ours(engine, dtype, depth, batch)
        rows.append([distances(got, wide)] +
                    [distances(train(depth, torch.float32, l, batch, 1), wide)
                     for l in (nhwc, nchw)])
        if first:
            absolute(what, got, wide, rows[0][0], tolerance)
            opens(what, model, batch)
    beside(what, rows, engine == "ref" or has_tiles(engine))


def absolute(what, got, wide, d, tolerance):
    check(len(got["grad"]) == len(wide["grad"]) and
          len(got["buffer"]) == len(wide["buffer"]) > 1,
          what + "every gradient and buffer")
    for name, e in zip(WHAT, d):
        check(e <= tolerance, what + "%s %.1e" % (name, e))
    e = [abs(a / b - 1) for a, b in zip(got["loss"], wide["loss"])]
    check(e[0] <= tolerance, what + "loss %.1e" % e[0])
    check(max(e) <= 1e-3, what + "losses of three steps " +
          " ".join("%.6f" % v for v in got["loss"]) + ", worst %.1e" % max(e))


def opens(what, model, batch):
    state = load_file("state.safetensors")
    try:
        model.load_state_dict(state, strict=True)
        model.eval()(batch[0].float())
        check(state["bn1.num_batches_tracked"].item() == 3,
              what + "our file loads in torchvision")
    except Exception as error:
        check(False, what + "our file loads in torchvision: %s" % error)


torch.set_num_threads(2)
compare(sys.argv[1], "F32", int(sys.argv[2]), 1e-4)
END

for engine in cpu ref; do
	[ "$engine" = ref ] || [ -f "$BIN/engine-cpu.so" ] || continue
	for depth in 18 50; do
		[ "$engine$depth" != ref50 ] || continue # minutes
		"$PY" compare.py "$engine" "$depth" >out 2>err
		status=$?
		while read -r line; do
			case $line in
			'ok - '*) ok 0 "${line#ok - }" ;;
			'not ok - '*) ok 1 "${line#not ok - }" ;;
			*) echo "$line" ;;
			esac
		done <out
		is "$status" 0 "$engine, ResNet-$depth: the comparison ran"
		[ "$status" -eq 0 ] || tap_comment "$(tail -3 err)"
	done
done
done_testing
