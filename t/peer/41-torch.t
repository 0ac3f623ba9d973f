#!/bin/sh
# ResNets beside PyTorch, live: same weights, same batch, judged against
# PyTorch in float64; model files both ways. Needs Python with torch,
# torchvision and safetensors (PEER_PYTHON).
. "${TOP:-$(dirname "$0")/../..}/t/lib/tap.sh"
PY=${PEER_PYTHON:-python3}
"$PY" -c 'import torch, torchvision, safetensors' 2>/dev/null ||
	skip_all 'peer: no torch, torchvision, safetensors'

cat >compare.py <<'END'
import importlib.util, os, subprocess, sys
import torch, torchvision
from safetensors.torch import load_file, save_file

top, binary = os.environ["TOP"], os.environ["BIN"]
spec = importlib.util.spec_from_file_location(
    "make", top + "/t/golden/make-resnet.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)
LR, BATCH = 0.02, 8
SEED = 1004


def check(good, text):
    print("%s - %s" % ("ok" if good else "not ok", text))


def train(depth, dtype, x, label, steps):
    name = "resnet%d" % depth
    model = getattr(torchvision.models, name)(num_classes=make.CLASSES)
    model = model.to(dtype)
    make.fill(model, depth)
    model.train()
    sgd = torch.optim.SGD(model.parameters(), LR, 0.9, weight_decay=1e-4)
    r = {"loss": []}
    for step in range(steps):
        sgd.zero_grad()
        logits = model(x.to(dtype))
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


def ours(engine, dtype, depth):
    name = "resnet%d" % depth
    x, label, pixels = make.batch(SEED, BATCH)
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


def compare(engine, dtype, depth, tolerance):
    x, label, _ = make.batch(SEED, BATCH)
    wide = train(depth, torch.float64, x, label, 3)
    near = train(depth, torch.float32, x, label, 1)
    model, got = ours(engine, dtype, depth)
    what = "resnet%d, %s %s: " % (depth, engine, dtype)
    g, t = (errors(r["grad"], wide["grad"]) for r in (got, near))
    check(len(got["grad"]) == len(wide["grad"]), what + "every gradient")
    print("# gradients, from float64: ours worst %.1e (%s) median %.1e; "
          "torch fp32 worst %.1e (%s) median %.1e" %
          (*g[0], g[len(g) // 2][0], *t[0], t[len(t) // 2][0]))
    check(g[0][0] <= tolerance, what + "gradients, worst %.1e" % g[0][0])
    # rounding of the same size, in another order of summation
    check(g[0][0] <= 3 * t[0][0] and g[len(g) // 2][0] <=
          2 * t[len(t) // 2][0], what + "no more than rounding: worst within "
          "3 times, median within 2 times PyTorch's own fp32")
    e = far(got["logits"], wide["logits"])
    check(e <= tolerance, what + "logits %.1e (torch fp32 %.1e)" %
          (e, far(near["logits"], wide["logits"])))
    b = errors(got["buffer"], wide["buffer"])
    check(len(b) > 1 and b[0][0] <= tolerance, what + "buffers %.1e" % b[0][0])
    worst = max(abs(a / b - 1) for a, b in zip(got["loss"], wide["loss"]))
    check(worst <= 1e-3, what + "losses of three steps " +
          " ".join("%.6f" % v for v in got["loss"]) + ", worst %.1e" % worst)
    state = load_file("state.safetensors")
    try:
        model.load_state_dict(state, strict=True)
        model.eval()(x.float())
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
