"""ResNets of ours and of PyTorch, one training step each, judged against
PyTorch in float64. Prints lines of TAP without numbers.

    resnets.py ENGINE F32|BF16|F64 DEPTH SIZE

Needs TOP and BIN in the environment. Run by 41-torch.t.
"""
import copy
import os
import statistics
import subprocess
import sys

import torch
import torchvision
from safetensors.torch import load_file, save_file

from peer import binary, check, script

make = script("make-resnet.py")
LR, BATCH = 0.02, 8
SEEDS = (1004, 1005, 1006)[:int(os.environ.get("PEER_BATCHES", 3))]
NCHW, NHWC = torch.contiguous_format, torch.channels_last


filled = {}


def new_model(depth):
    if depth not in filled:
        model = getattr(torchvision.models, "resnet%d" % depth)
        filled[depth] = model(num_classes=make.CLASSES)
        # the more activations there are the likelier is one within the rounding
        # of zero, unless betas keep them away
        make.fill(filled[depth], depth, 4.0 if make.SIZE > 64 else None)
    return copy.deepcopy(filled[depth])


def train(depth, dtype, layout, batch, steps, cast=False):
    x, label, _ = batch
    x = x.to(dtype).contiguous(memory_format=layout)
    model = new_model(depth).to(dtype).to(memory_format=layout)
    model.train()
    sgd = torch.optim.SGD(model.parameters(), LR, 0.9, weight_decay=1e-4)
    r = {"loss": []}
    for step in range(steps):
        sgd.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            logits = model(x)
            loss = torch.nn.functional.cross_entropy(logits.to(dtype), label)
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


def ours(engine, dtype, depth, batch, steps):
    _, label, pixels = batch
    model = new_model(depth)
    save_file(model.state_dict(), "weights.safetensors")
    save_file({"image": torch.from_numpy(pixels), "label": label,
               "lr": torch.full([steps], LR, dtype=torch.float64)},
              "batch.safetensors")
    subprocess.run([binary + "/t/43-golden-resnet.t", engine, dtype,
                    "resnet%d" % depth, "weights.safetensors",
                    "batch.safetensors", "out.safetensors",
                    "state.safetensors"],
                   check=True, stderr=subprocess.DEVNULL)
    out = load_file("out.safetensors")
    part = {"grad": {}, "buffer": {}}
    for n, t in out.items():
        kind, _, rest = n.partition("/")
        if rest and t.dim():
            part[kind][rest] = t.double()
    part["loss"], part["logits"] = out["loss"].tolist(), out["logits"]
    return model, part


WHAT = ("worst gradient", "median gradient", "all gradients", "logits", "loss",
        "worst buffer")


def distances(r, wide):
    """From float64, in the order of WHAT."""
    g, b = errors(r["grad"], wide["grad"]), errors(r["buffer"], wide["buffer"])
    whole = [torch.cat([x["grad"][n].flatten() for n in wide["grad"]])
             for x in (r, wide)]
    return [g[0][0], g[len(g) // 2][0], far(*whole),
            far(r["logits"], wide["logits"]),
            abs(r["loss"][0] / wide["loss"][0] - 1), b[0][0]]


def has_tiles(engine):
    line = subprocess.run(
        [binary + "/accel-worker", "bench", "-q", "-e", engine, "-n", "1",
         "--warm", "0", "MODEL.NAME", "resnet18", "MODEL.WIDTH", "8",
         "INPUT.SIZE", "32", "SOLVER.BATCH", "2"],
        check=True, capture_output=True, text=True).stdout
    return "tiles amx" in line


def judge(name, good, text):
    """With large images some activation lies within the rounding of zero in most
    batches, and a gradient of any of the three is 1e-3 off or, where it
    vanishes, anything: then it is only told."""
    if make.SIZE > 64 and not name.startswith("within"):
        print("# " + text, flush=True)
    else:
        check(good, text)


def beside(what, rows, bound, half):
    """Medians over batches of (ours, nhwc, nchw). The loss is one number, which
    may be right by chance: that of fp32 to half a unit, that of bf16 to the
    distance of the logits. In bf16 all three err by tenths of a gradient, and a
    tenth of that is chance: the further of PyTorch's two is what counts."""
    for i, name in enumerate(WHAT):
        o, nhwc, nchw = (statistics.median(r[who][i] for r in rows)
                         for who in range(3))
        if half:
            nhwc = nchw = 1.1 * max(nhwc, nchw)
        chance = 0
        if name == "loss":
            chance = 6e-8 if not half else statistics.median(
                r[1][WHAT.index("logits")] for r in rows)
        judge(name, o <= max(bound[0] * nhwc, chance) and
              o <= max(bound[1] * nchw, chance),
              what + "%s: from float64 %.1e, torch nhwc %.1e, nchw %.1e" %
              (name, o, nhwc, nchw))


def compare(engine, dtype, depth):
    what = "resnet%d at %d, %s %s: " % (depth, make.SIZE, engine, dtype)
    half = dtype == "BF16"
    steps = 3 if make.SIZE == 64 and not half else 1
    rows = []
    for seed in SEEDS if engine != "ref" else SEEDS[:1]:
        batch = make.batch(seed, BATCH)
        first = seed == SEEDS[0]
        n = steps if first else 1
        wide = train(depth, torch.float64, NCHW, batch, n)
        model, got = ours(engine, dtype, depth, batch, n)
        rows.append([distances(got, wide)] +
                    [distances(train(depth, torch.float32, l, batch, 1, half),
                               wide) for l in (NHWC, NCHW)])
        if first and not half:
            absolute(what, got, wide, rows[0][0], 2e-5)
        if first:
            opens(what, model, batch, n)
    beside(what, rows, (1, 1) if half or engine == "ref" or has_tiles(engine)
           else (1, 2), half)


def absolute(what, got, wide, d, tolerance):
    check(len(got["grad"]) == len(wide["grad"]) and
          len(got["buffer"]) == len(wide["buffer"]) > 1,
          what + "every gradient and buffer")
    for name, e in zip(WHAT, d):
        judge(name if "gradient" in name else "within", e <= tolerance,
              what + "%s %.1e" % (name, e))
    if len(got["loss"]) > 1:
        e = [abs(a / b - 1) for a, b in zip(got["loss"], wide["loss"])]
        check(max(e) <= 1e-3, what + "losses of three steps " +
              " ".join("%.6f" % v for v in got["loss"]) +
              ", worst %.1e" % max(e))


def opens(what, model, batch, steps):
    state = load_file("state.safetensors")
    try:
        model.load_state_dict(state, strict=True)
        model.eval()(batch[0].float())
        check(state["bn1.num_batches_tracked"].item() == steps,
              what + "our file loads in torchvision")
    except Exception as error:
        check(False, what + "our file loads in torchvision: %s" % error)


def main():
    torch.set_num_threads(2)
    make.SIZE = int(sys.argv[4])
    compare(sys.argv[1], sys.argv[2], int(sys.argv[3]))


if __name__ == "__main__":
    main()
