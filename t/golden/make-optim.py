"""Make optim.txt: 50 updates of given gradients, and 50 losses, by PyTorch.

    python make-optim.py [SEED] > optim.txt

In float64: torch.optim.SGD, torch.nn.utils.clip_grad_norm_, the schedulers of
torch.optim.lr_scheduler; for LARS what apex's LARC does to gradients (NVIDIA/apex
apex/parallel/LARC.py, clip=False); cross_entropy with soft targets. Weights,
gradients and logits are numbers of value(), which fp32 holds exactly; the cases
are those of t/unit/53-optim.c.

Lines: "seed N"; "CASE STEP lr V"; "CASE STEP norm V", before clipping; for some
steps "CASE STEP PARAM VALUE..."; "loss STEP sum V"; "loss STEP grad VALUE...".
"""
import sys

import torch
from torch.optim import lr_scheduler as rates

SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 1
STEPS, SHOWN = 50, (1, 2, 10, 50)
PARAMS = (("conv.weight", (4, 3, 2, 2)), ("bn.weight", (4,)),
          ("bn.bias", (4,)), ("fc.weight", (5, 4)), ("fc.bias", (5,)))
N, K = 3, 7


def value(which, i, step):
    h = (i * 0x9E3779B1 + step * 0x85EBCA6B + which * 0xC2B2AE35 +
         SEED * 0x27D4EB2F) % 2**32
    h ^= h >> 15
    h = h * 0x2C1B3C6D % 2**32
    h ^= h >> 12
    return (h >> 8) / 2**23 - 1


def tensor(which, shape, step, scale=1.0):
    n = torch.Size(shape).numel()
    return torch.tensor([value(which, i, step) * scale for i in range(n)],
                        dtype=torch.float64).reshape(shape)


def make():
    ps = [torch.nn.Parameter(tensor(k, shape, 0))
          for k, (_, shape) in enumerate(PARAMS)]
    return ps, [p for p in ps if p.dim() > 1], [p for p in ps if p.dim() == 1]


def sgd():
    ps, _, _ = make()
    o = torch.optim.SGD(ps, 0.1, 0.9, weight_decay=1e-3)
    r = rates.SequentialLR(o, [rates.LinearLR(o, 0.1, total_iters=5),
                               rates.CosineAnnealingLR(o, 45)], [5])
    return ps, o, r, 1.0, 0


def nesterov():
    ps, wide, flat = make()
    o = torch.optim.SGD([{"params": wide},
                         {"params": flat, "weight_decay": 0}],
                        0.05, 0.8, weight_decay=0.01, nesterov=True)
    r = rates.SequentialLR(o, [rates.ConstantLR(o, 0.25, total_iters=10),
                               rates.MultiStepLR(o, [10, 30], 0.1)], [10])
    return ps, o, r, 0, 0


def lars():
    ps, _, _ = make()
    o = torch.optim.SGD([{"params": [p], "weight_decay":
                          0 if p.dim() > 1 else 1e-3} for p in ps], 2.0, 0.9)
    return ps, o, rates.PolynomialLR(o, STEPS, power=2), 0, 0.01


def layerwise(ps, eta, decay):
    for p in ps:
        if p.dim() > 1:
            w, g = p.detach().norm(), p.grad.norm()
            p.grad += decay * p.detach()
            p.grad *= eta * w / (g + decay * w + 1e-8)


def show(case, step, what, *values):
    print(case, step, what, *("%.11g" % v for v in values))


def updates(case):
    ps, o, r, clip, eta = case()
    name = case.__name__
    for step in range(STEPS):
        for k, p in enumerate(ps):
            p.grad = tensor(k, p.shape, step + 1, 2.0 ** (step % 5 - 3))
        show(name, step + 1, "lr", r.get_last_lr()[0])
        norm = torch.nn.utils.clip_grad_norm_(ps, clip or float("inf"))
        show(name, step + 1, "norm", norm.item())
        if eta:
            layerwise(ps, eta, 1e-3)
        o.step()
        r.step()
        if step + 1 in SHOWN:
            for (what, _), p in zip(PARAMS, ps):
                show(name, step + 1, what, *p.detach().flatten().tolist())


def loss(step):
    z = tensor(9, (N, K), step, 8.0).requires_grad_()
    label = torch.tensor([(step * 3 + i * 5) % K for i in range(N)])
    mix, smoothing = (step % 11) / 10, (0, 0.1, 0.3)[step % 3]
    hot = torch.nn.functional.one_hot(label, K).double()
    target = hot * (1 - mix) + hot.roll(1, 0) * mix
    value = torch.nn.functional.cross_entropy(z, target,
                                              label_smoothing=smoothing)
    value.backward()
    show("loss", step, "sum", value.item() * N)
    show("loss", step, "grad", *z.grad.flatten().tolist())


print("seed", SEED)
for case in (sgd, nesterov, lars):
    updates(case)
for step in range(1, STEPS + 1):
    loss(step)
