"""Make mix.txt: erasing, mixup, cutmix and the loss of mixed labels in PyTorch.

    python make-mix.py > mix.txt

Made-up pictures (pixel() here and in t/unit/33-mix.c) are normalised, erased and
mixed as torchvision does it, with lambda and boxes that are given. Lines of
"image CASE VALUE...": all values, [n,h,w,c], fp32. Lines of "loss CASE VALUE...":
loss, then its gradient by the logits of four rows, six classes, float64, label
smoothing 0.1; "top CASE CORRECT1 CORRECT5" by the label of the larger weight.
"""
import torch
import torchvision
from torchvision.transforms.v2 import CutMix, MixUp
from torchvision.transforms import functional as F

N, H, W, K = 3, 4, 5, 6
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ERASE = ((1, 0, 4, 2), (0, 0, 0, 0), (0, 3, 1, 5))  # top, left, bottom, right
# name, lambda, box top, left, bottom, right (cutmix), erased
CASES = (("mixup", 0.7, None, False), ("mixup", 0.23, None, True),
         ("cutmix", None, (1, 2, 4, 4), False), ("cutmix", None, (0, 0, 2, 5), True),
         ("erase", None, None, True))


def pixel(i):
    return (i * 7919 + 13) % 256


def logit(i):
    return ((i * i * 5 + i * 37) % 29 - 14) / 4


def images():
    x = torch.tensor([pixel(i) for i in range(N * H * W * 3)])
    x = x.reshape(N, H, W, 3).permute(0, 3, 1, 2).to(torch.uint8)
    x = F.convert_image_dtype(x, torch.float32)
    return F.normalize(x, MEAN, STD)


def mixer(name, lam, box):
    m = {"mixup": MixUp, "cutmix": CutMix}[name](num_classes=K)
    if name == "mixup":
        m.make_params = lambda flat: dict(lam=lam)
    else:
        t, l, b, r = box
        m.make_params = lambda flat: dict(
            box=(l, t, r, b), lam_adjusted=1 - (b - t) * (r - l) / (H * W))
    return m


if __name__ == "__main__":
    print("# made by make-mix.py with torch", torch.__version__,
          "torchvision", torchvision.__version__)
    for k, (name, lam, box, erased) in enumerate(CASES):
        x = images()
        if erased:
            x = torch.stack([F.erase(im, t, l, b - t, r - l, torch.zeros(3, 1, 1))
                             for im, (t, l, b, r) in zip(x, ERASE)])
        if name != "erase":
            x, _ = mixer(name, lam, box)(x, torch.zeros(N, dtype=torch.int64))
        x = x.permute(0, 2, 3, 1).reshape(-1)
        print("image", k, *["%.9g" % v for v in x])
    label = torch.tensor([2, 5, 0, 0])
    for k, lam in enumerate((1.0, 0.8, 0.5, 0.1)):
        z = torch.tensor([logit(i) for i in range(4 * K)], dtype=torch.float64)
        z = z.reshape(4, K).requires_grad_()
        hot = torch.nn.functional.one_hot(label, K).double()
        hot = hot.roll(1, 0).mul(1.0 - lam).add(hot.mul(lam))
        loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(z, hot)
        loss.backward()
        print("loss", k, lam, "%.17g" % loss.item(),
              *["%.17g" % v for v in z.grad.reshape(-1)])
        want = label if lam >= 0.5 else label.roll(1, 0)
        rank = z.topk(5, 1).indices == want[:, None]
        print("top", k, int(rank[:, :1].sum()), int(rank.sum()))
