"""Rate of torchvision's training transforms on the JPEG files of a folder.

usage: torch_data.py FOLDER IMAGES PROCESSES
One JSON line: img_s of time, img_s_core of CPU time (one process only). The files are read before the clock starts. One process: a plain
loop. Several: a DataLoader with so many workers and batches of 32, timed from
its second batch on, so that starting the workers does not count.
"""
import io
import json
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


class Crops(torch.utils.data.Dataset):
    def __len__(self):
        return images + 32

    def __getitem__(self, i):
        with Image.open(io.BytesIO(data[i % len(data)])) as image:
            return transform(image.convert("RGB"))


crops = Crops()
if processes == 1:
    for i in range(8):
        crops[i]
    begin, cpu = time.perf_counter(), time.process_time()
    for i in range(images):
        crops[i]
    cpu = time.process_time() - cpu
    done = images
else:
    loader = iter(torch.utils.data.DataLoader(crops, 32, num_workers=processes))
    next(loader)
    begin, cpu = time.perf_counter(), 0
    done = sum(len(batch) for batch in loader)
seconds = time.perf_counter() - begin
rates = {"img_s": done / seconds}
if cpu:
    rates["img_s_core"] = done / cpu
print(json.dumps(rates, separators=(",", ":")))
