"""Median rate of training steps of a torchvision model on made-up images.

usage: torch_train.py MODEL SIZE BATCH fp32|bf16 STEPS THREADS eager|compile
One JSON line, like `accel-worker bench`. Images are floats already; memory
order is channels-last, which is PyTorch's fast path on CPUs.
"""
import json
import os
import resource
import statistics
import sys
import time

import torch
import torchvision



def age():
    """Seconds since this process was started."""
    with open("/proc/self/stat") as stat, open("/proc/uptime") as uptime:
        ticks = int(stat.read().rsplit(")", 1)[1].split()[19])
        return (float(uptime.read().split()[0]) -
                ticks / os.sysconf("SC_CLK_TCK"))


model_name, size, batch, precision, steps, threads, how = sys.argv[1:8]
size, batch, steps = int(size), int(batch), int(steps)
torch.set_num_threads(int(threads))
torch.manual_seed(0)

model = getattr(torchvision.models, model_name)(num_classes=1000).train()
model = model.to(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9,
                            weight_decay=1e-4)
images = torch.randn(batch, 3, size, size).to(
    memory_format=torch.channels_last)
labels = torch.randint(0, 1000, (batch,))
if how == "compile":
    model = torch.compile(model)


def step():
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


times = []
for i in range(-2, steps):
    begin = time.perf_counter()
    step()
    if i >= 0:
        times.append(time.perf_counter() - begin)
    elif i == -2:
        first = age()
ms = statistics.median(times) * 1e3
print(json.dumps({"ms": ms, "img_s": batch / ms * 1e3, "first_s": first,
                  "peak_rss": resource.getrusage(
                      resource.RUSAGE_SELF).ru_maxrss * 1024,
                  "torch": torch.__version__}, separators=(",", ":")))
