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
BATCHES = int(os.environ.get("PEER_BATCHES", 3))
CACHE = os.environ.get("PEER_CACHE") or None
TABLE = os.environ.get("PEER_TABLE") or None
# A gradient jumps where an activation passes zero or two maxima change places.
# None of either may lie within this of that in float64, some 2e-7 of their size:
# then ours and PyTorch's take the same branches, and gradients can be judged.
MARGIN = 1e-6
NCHW, NHWC = torch.contiguous_format, torch.channels_last


filled, apart = {}, False


def new_model(depth):
    if depth not in filled:
        model = getattr(torchvision.models, "resnet%d" % depth)
        filled[depth] = model(num_classes=make.CLASSES)
        # the more activations there are the likelier is one close to zero,
        # unless betas keep them away
        make.fill(filled[depth], depth, 4.0 if apart else None)
        if apart:
            part_from_zero(filled[depth], "bn3" if depth >= 50 else "bn2")
    return copy.deepcopy(filled[depth])


def part_from_zero(model, last):
    """Sums of a block and its input are positive or far below zero."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.startswith("layer") and name.endswith(last + ".bias"):
                p.abs_()


def nearest(x, out):
    """The least distance to another branch, among relus and windows of the
    pool."""
    if out is not None:
        return x.abs().min().item()
    gap = float("inf")
    for image in x:
        windows = torch.nn.functional.unfold(image[:, None], 3, padding=1,
                                             stride=2)
        best = windows.topk(2, 1).values
        gaps = (best[:, 0] - best[:, 1])[best[:, 0] > 0]
        gap = min(gap, gaps.min().item())
    return gap


def clear(depth, batch):
    """Is everything farther than MARGIN from another branch? The stem is looked
    at first, for it has most."""
    class Close(Exception):
        pass

    def look(module, args):
        relu = isinstance(module, torch.nn.ReLU)
        if nearest(args[0], relu or None) < MARGIN:
            raise Close

    model = new_model(depth).double().train()
    for module in model.modules():
        if isinstance(module, (torch.nn.ReLU, torch.nn.MaxPool2d)):
            module.register_forward_pre_hook(look)
    try:
        with torch.no_grad():
            model(batch[0])
    except Close:
        return False
    return True


def seeds(depth):
    """Those of the batches: with large images such that are clear."""
    found, seed = [], 1004
    while len(found) < BATCHES and seed < 1004 + 20 * BATCHES:
        if make.SIZE <= 64 or kept(
                (depth, seed, "clear", MARGIN),
                lambda: clear(depth, make.batch(seed, BATCH))):
            found.append(seed)
        seed += 1
    return found


def kept(what, compute):
    """compute(), or what an earlier run left of it in PEER_CACHE."""
    if CACHE is None:
        return compute()
    path = "%s/torch-%s-%d" % (CACHE, torch.__version__, make.SIZE)
    path += "".join("-%s" % w for w in what) + ".pt"
    if os.path.exists(path):
        return torch.load(path)
    result = compute()
    torch.save(result, path + ".new")
    os.rename(path + ".new", path)
    return result


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


def joined(a, names):
    return torch.cat([a[n].flatten() for n in names])


def whole_of(name):
    """What a tensor is judged with. Where all of a channel passes its relu the
    next norm takes the bias of this one away again, and its gradient is what
    rounding leaves of nothing: the two vectors of a norm are one."""
    norm = "bn" in name or "downsample.1" in name
    return name.rpartition(".")[0] if norm else name


def errors(a, b):
    """Relative distances, one of each tensor, of each norm."""
    parts = {}
    for name in b:
        parts.setdefault(whole_of(name), []).append(name)
    return [far(joined(a, n), joined(b, n)) for n in parts.values()]


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
    g = errors(r["grad"], wide["grad"])
    b = [far(r["buffer"][n], t) for n, t in wide["buffer"].items()]
    whole = [joined(x["grad"], wide["grad"]) for x in (r, wide)]
    return [max(g), statistics.median(g), far(*whole),
            far(r["logits"], wide["logits"]),
            abs(r["loss"][0] / wide["loss"][0] - 1), max(b)]


def beside(what, rows, half):
    """Medians over batches of (ours, nhwc, nchw). The loss is one number, which
    may be right by chance: that of fp32 to half a unit, that of bf16 to the
    distance of the logits. In bf16 all sides round the same images and weights,
    which makes most of some distances the same to three digits, and take many
    other branches than float64, which moves the rest by a tenth from batch to
    batch: there the furthest that PyTorch was in any layout and batch counts."""
    for i, name in enumerate(WHAT):
        o, nhwc, nchw = (statistics.median(r[who][i] for r in rows)
                         for who in range(3))
        if half:
            nhwc = nchw = max(r[who][i] for r in rows for who in (1, 2))
        chance = 0
        if name == "loss":
            chance = 6e-8 if not half else statistics.median(
                r[1][WHAT.index("logits")] for r in rows)
        check(o <= max(nhwc, chance) and o <= max(nchw, chance),
              what + "%s: from float64 %.2e, torch " % (name, o) +
              ("at most %.2e" % nhwc if half else
               "nhwc %.2e, nchw %.2e" % (nhwc, nchw)))


def float64(depth, seed, steps):
    return kept((depth, seed, "F64", steps),
                lambda: train(depth, torch.float64, NCHW,
                              make.batch(seed, BATCH), steps))


def torches(depth, seed, half, wide):
    """How far PyTorch's two layouts are: distances, and those of each part."""
    def run(layout):
        r = train(depth, torch.float32, layout, make.batch(seed, BATCH), 1, half)
        return distances(r, wide), errors(r["grad"], wide["grad"])

    return [kept((depth, seed, "BF16" if half else "F32", name),
                 lambda layout=layout: run(layout))
            for name, layout in (("nhwc", NHWC), ("nchw", NCHW))]


def compare(engine, dtype, depth):
    what = "resnet%d at %d, %s %s: " % (depth, make.SIZE, engine, dtype)
    half = dtype == "BF16"
    steps = 3 if make.SIZE == 64 and not half else 1
    rows, parts = [], []
    for seed in seeds(depth)[:1 if engine == "ref" else None]:
        batch = make.batch(seed, BATCH)
        first = not rows
        n = steps if first else 1
        wide = float64(depth, seed, n)
        theirs = torches(depth, seed, half, wide)
        model, got = ours(engine, dtype, depth, batch, n)
        rows.append([distances(got, wide), *(d for d, _ in theirs)])
        e = errors(got["grad"], wide["grad"])
        ratio = [statistics.median(a / b for a, b in zip(e, t))
                 for _, t in theirs]
        note(dtype, depth, seed, rows[-1], ratio)
        if not half and engine != "ref":
            parts.append(ratio)
        if not half and (first or apart):  # the others may be close to a jump
            absolute(what + "batch %d: " % seed, got, wide, rows[-1][0], 2e-5)
        if first:
            opens(what, model, batch, n)
    if parts:
        median = [statistics.median(p) for p in zip(*parts)]
        check(max(median) < 1, what + "gradients, each by itself: %.2f of the "
              "distance of torch nhwc, %.2f of nchw" % tuple(median))
    beside(what, rows, half)


def note(dtype, depth, seed, row, ratio):
    """Lines for a table of all."""
    if TABLE is None:
        return
    with open(TABLE, "a") as f:
        for who, d in zip(("ours", "nhwc", "nchw"), row):
            print(dtype, depth, seed, who, *("%.2e" % v for v in d), *(
                ("%.2f" % v for v in ratio) if who == "ours" else ()), file=f)


def absolute(what, got, wide, d, tolerance):
    check(len(got["grad"]) == len(wide["grad"]) and
          len(got["buffer"]) == len(wide["buffer"]) > 1 and
          max(d) <= tolerance, what + "all there, " +
          ", ".join("%s %.1e" % pair for pair in zip(WHAT, d)))
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
    global apart
    apart = make.SIZE > 64
    compare(sys.argv[1], sys.argv[2], int(sys.argv[3]))


if __name__ == "__main__":
    main()
