"""Train ResNet-18 on a folder as torchvision's reference script does, and score.

usage: torch_endtoend.py FOLDER SEED EPOCHS fp32|bf16 THREADS
FOLDER has train/CLASS/FILE and val/CLASS/FILE. The numbers are those of
endtoend.yaml. One JSON line: img_s, images of training by the seconds from the
first step's end to the last's; train_s, from the start of the process to the
end of training; top1 of val. Memory order is channels-last.
"""
import json
import os
import sys
import time

import torch
import torchvision
from torchvision import transforms
from torchvision.transforms.functional import InterpolationMode

SIZE, BATCH, LR, DECAY, SMOOTHING = 32, 64, 0.05, 1e-4, 0.1
SCALE, WARMUP, FACTOR = (0.35, 1.0), 1, 0.1


def age():
    """Seconds since this process was started."""
    with open("/proc/self/stat") as stat, open("/proc/uptime") as uptime:
        ticks = int(stat.read().rsplit(")", 1)[1].split()[19])
        return (float(uptime.read().split()[0]) -
                ticks / os.sysconf("SC_CLK_TCK"))


def loader(folder, train, workers):
    tensor = [transforms.PILToTensor(),
              transforms.ConvertImageDtype(torch.float),
              transforms.Normalize((0.485, 0.456, 0.406),
                                   (0.229, 0.224, 0.225))]
    bilinear = InterpolationMode.BILINEAR
    if train:
        way = [transforms.RandomResizedCrop(SIZE, SCALE,
                                            interpolation=bilinear),
               transforms.RandomHorizontalFlip(0.5)]
    else:
        way = [transforms.Resize(SIZE, interpolation=bilinear),
               transforms.CenterCrop(SIZE)]
    data = torchvision.datasets.ImageFolder(
        folder, transforms.Compose(way + tensor))
    return torch.utils.data.DataLoader(
        data, BATCH, shuffle=train, num_workers=workers,
        persistent_workers=train and workers > 0)


def score(model, data, cast):
    model.eval()
    good = n = 0
    with torch.inference_mode(), cast():
        for x, label in data:
            x = x.to(memory_format=torch.channels_last)
            good += (model(x).argmax(1) == label).sum().item()
            n += len(label)
    return good / n, n


def main():
    folder, seed, epochs, precision, threads = sys.argv[1:6]
    seed, epochs, threads = int(seed), int(epochs), int(threads)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)

    def cast():
        return torch.autocast("cpu", torch.bfloat16,
                              enabled=precision == "bf16")

    train = loader(folder + "/train", True, threads)
    model = torchvision.models.resnet18(
        num_classes=len(train.dataset.classes))
    model = model.to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(model.parameters(), LR, 0.9, weight_decay=DECAY)
    rates = torch.optim.lr_scheduler
    rate = rates.SequentialLR(
        sgd, [rates.LinearLR(sgd, FACTOR, total_iters=WARMUP),
              rates.CosineAnnealingLR(sgd, epochs - WARMUP)], [WARMUP])
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    first, images = None, 0
    for _ in range(epochs):
        model.train()
        for x, label in train:
            x = x.to(memory_format=torch.channels_last)
            with cast():
                loss = criterion(model(x), label)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            if first is None:
                first = time.perf_counter()
            else:
                images += len(label)
        rate.step()
    seconds, train_s = time.perf_counter() - first, age()
    top1, n = score(model, loader(folder + "/val", False, 0), cast)
    print(json.dumps({"img_s": images / seconds, "train_s": train_s,
                      "top1": top1, "n": n, "torch": torch.__version__},
                     separators=(",", ":")))


main()
