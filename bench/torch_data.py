"""Rate of torchvision's training transforms on the JPEG files of a folder.

usage: torch_data.py FOLDER IMAGES PROCESSES
One JSON line: img_s of time, img_s_core of CPU time (one process only). The
files are read before the clock starts. One process: a plain loop. Several: a
DataLoader with so many workers and batches of 32, timed from its second batch
on, so that starting the workers does not count; first_s is what that takes,
without the imports, start_s all since the interpreter began, and mib the memory
of all processes, shared pages once, without the files.
"""
import io
import json
import os
import pathlib
import sys
import time

import torch
from PIL import Image
from torchvision.transforms import v2

folder, images, processes = sys.argv[1:4]
images, processes = int(images), int(processes)
torch.set_num_threads(1)
torch.manual_seed(0)
names = sorted(p for p in pathlib.Path(folder).rglob("*")
               if p.suffix.lower() in (".jpg", ".jpeg"))
data = [p.read_bytes() for p in names[:images]]
transform = v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(),
                        v2.PILToTensor()])


def memory():
    """MiB of this process and its children, each shared page once."""
    me, kib = os.getpid(), 0
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parent = (p / "stat").read_text().rsplit(")", 1)[1].split()[1]
            if int(p.name) == me or int(parent) == me:
                lines = (p / "smaps_rollup").read_text().splitlines()
                kib += sum(int(l.split()[1]) for l in lines
                           if l.startswith("Pss:"))
        except OSError:
            pass
    return kib / 1024 - sum(map(len, data)) / 2**20


def since_start():
    """Seconds since this process was started."""
    ticks = float(pathlib.Path("/proc/self/stat").read_text()
                  .rsplit(")", 1)[1].split()[19])
    up = float(pathlib.Path("/proc/uptime").read_text().split()[0])
    return up - ticks / os.sysconf("SC_CLK_TCK")


class Crops(torch.utils.data.Dataset):
    def __len__(self):
        return images + 32

    def __getitem__(self, i):
        with Image.open(io.BytesIO(data[i % len(data)])) as image:
            return transform(image.convert("RGB"))


crops, rates = Crops(), {}
if processes == 1:
    for i in range(8):
        crops[i]
    begin, cpu = time.perf_counter(), time.process_time()
    for i in range(images):
        crops[i]
    cpu = time.process_time() - cpu
    done = images
else:
    begin = time.perf_counter()
    loader = iter(torch.utils.data.DataLoader(crops, 32, num_workers=processes))
    next(loader)
    rates |= {"first_s": time.perf_counter() - begin, "start_s": since_start()}
    begin, cpu, done, took = time.perf_counter(), 0, 0, 0
    for batch in loader:
        done += len(batch)
        if done == 4 * 32:
            before = time.perf_counter()
            rates["mib"] = memory()
            took = time.perf_counter() - before
    begin += took
rates["img_s"] = done / (time.perf_counter() - begin)
if cpu:
    rates["img_s_core"] = done / cpu
print(json.dumps(rates, separators=(",", ":")))
