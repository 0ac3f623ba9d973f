#!/usr/bin/env python3
"""Write t/golden/resnet.txt: one training step of PyTorch in float64.

    python3 t/golden/make-resnet.py > t/golden/resnet.txt

ResNet-18 and ResNet-50 of torchvision (100 classes) with weights and a batch
(4 images of 64x64) made by a formula that t/unit/43-golden-resnet.c has too.

A gradient jumps where an activation passes zero, and of the millions of
ResNet-50 some always lie within the rounding of fp32, which costs any fp32
program 1e-3 and more in some gradient. So its betas are far from zero: most
channels are mostly on or mostly off, and the comparison can be sharp.
Made with torch 2.15 and torchvision 0.29. Lines:

    model NAME
    loss I VALUE                    mean loss of SGD step I (lr 0.02, momentum
                                    0.9, weight decay 1e-4)
    logit I VALUE                   of the first step; every 7th of [4,100]
    grad NAME NORM PROJECTION V0 V1 V2   whole gradient: its norm, its product
    buffer NAME NORM PROJECTION V0 V1 V2 with a fixed vector, three elements
"""
import numpy as np
import torch
import torchvision

CLASSES, N, SIZE = 100, 4, 64
SEED = 1003


def hashed(which, n):
    """n numbers in [-1,1): a hash of (which, position)."""
    j = np.arange(n, dtype=np.uint64)
    x = (np.uint64(which) * np.uint64(2654435761) +
         j * np.uint64(40503) + np.uint64(12345)) & np.uint64(0xffffffff)
    for _ in range(2):
        x = (x ^ (x >> np.uint64(16))) * np.uint64(0x45d9f3b)
        x &= np.uint64(0xffffffff)
    x ^= x >> np.uint64(16)
    return x.astype(np.float64) / 2147483648.0 - 1.0


def fill(model, depth, far=None):
    """far: how far from zero the betas are; 0: small ones."""
    far = (2.0 if depth >= 50 else 0.0) if far is None else far
    last = "bn3." if depth >= 50 else "bn2."
    with torch.no_grad():
        for i, (name, p) in enumerate(model.named_parameters()):
            v = hashed(i, p.numel())
            if p.dim() == 4:
                v = v * np.sqrt(6.0 / (p.shape[0] * p.shape[2] * p.shape[3]))
            elif name.startswith("fc."):
                v = v / np.sqrt(model.fc.weight.shape[1])
            else:
                size = 0.2 if name.startswith("layer") and last in name else 1.0
                if name.endswith("weight"):
                    v = (1.0 + 0.25 * v) * size
                elif far:
                    v = (far * np.where(v < 0, -1.0, 1.0) + v) * size
                else:
                    v = v * 0.1
            v = v.astype(np.float32).astype(np.float64)
            p.copy_(torch.from_numpy(v.reshape(p.shape)))


def batch(seed, n):
    """n made-up images: normalised f64 [n,3,h,w], labels, bytes [n,h,w,3]."""
    pixels = (hashed(seed, n * SIZE * SIZE * 3) + 1.0) * 128.0
    pixels = pixels.astype(np.uint8).reshape(n, SIZE, SIZE, 3)
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    std = np.array([0.229, 0.224, 0.225], np.float32)
    mul = np.float32(1) / (np.float32(255) * std)
    add = -mean / std
    x = pixels.astype(np.float64) * mul.astype(np.float64) + add.astype(
        np.float64)
    label = [(i * 37 + 5) % CLASSES for i in range(n)]
    return (torch.from_numpy(x.transpose(0, 3, 1, 2).copy()),
            torch.tensor(label), pixels)


def describe(kind, name, t, which):
    v = t.detach().double().reshape(-1).numpy()
    r = hashed(which, v.size)
    three = [v[0], v[v.size // 2], v[-1]]
    print(kind, name, "%.12g %.12g" % (np.linalg.norm(v), v @ r),
          " ".join("%.10g" % e for e in three))


def main():
    torch.manual_seed(0)
    for depth in (18, 50):
        name = "resnet%d" % depth
        model = getattr(torchvision.models, name)(num_classes=CLASSES).double()
        fill(model, depth)
        model.train()
        x, label, _ = batch(SEED, N)
        sgd = torch.optim.SGD(model.parameters(), 0.02, 0.9, weight_decay=1e-4)
        print("model", name)
        for step in range(3):
            sgd.zero_grad()
            logits = model(x)
            loss = torch.nn.functional.cross_entropy(logits, label)
            loss.backward()
            print("loss %d %.12g" % (step, loss.item()))
            if step == 0:
                flat = logits.detach().reshape(-1)
                for i in range(0, flat.numel(), 7):
                    print("logit %d %.12g" % (i, flat[i].item()))
                for i, (n, p) in enumerate(model.named_parameters()):
                    describe("grad", n, p.grad, 2000 + i)
                for n, b in model.named_buffers():
                    if b.dim():
                        describe("buffer", n, b, 3000)
            sgd.step()


if __name__ == "__main__":
    main()
