"""Rate of another loader's training crops, in one thread.

usage: loader_data.py webdataset SHARD IMAGES | loader_data.py dali FOLDER IMAGES
One JSON line: img_s of time, img_s_core of CPU time of the whole process.

webdataset reads the records of a shard and decodes them with Pillow and
torchvision's transforms. dali runs NVIDIA DALI's CPU operators (decoder with a
random crop, resize with its antialiasing triangular filter, mirror, uint8 out),
one thread, batches of 32.
"""
import json
import pathlib
import sys
import time

kind, source, images = sys.argv[1], sys.argv[2], int(sys.argv[3])


def webdataset():
    import torch
    import webdataset as wds
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    torch.manual_seed(0)
    crop = v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(),
                       v2.PILToTensor()])
    records = wds.WebDataset(source, shardshuffle=False).decode("pilrgb")
    while True:
        for record in records:
            for suffix in ("jpg", "jpeg", "JPEG", "png"):
                if suffix in record:
                    crop(record[suffix])
                    yield 1


def dali():
    from nvidia.dali import fn, pipeline_def, types

    names = sorted(str(p) for p in pathlib.Path(source).rglob("*")
                   if p.suffix.lower() in (".jpg", ".jpeg"))

    @pipeline_def(batch_size=32, num_threads=1, device_id=None, seed=0,
                  prefetch_queue_depth=1)
    def crops():
        data, _ = fn.readers.file(files=names, random_shuffle=True)
        image = fn.decoders.image_random_crop(
            data, device="cpu", output_type=types.RGB,
            random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3])
        image = fn.resize(image, size=[224, 224], antialias=True,
                          interp_type=types.INTERP_LINEAR)
        return fn.flip(image, horizontal=fn.random.coin_flip())

    pipeline = crops()
    pipeline.build()
    while True:
        pipeline.run()
        yield 32


loader = {"webdataset": webdataset, "dali": dali}[kind]()
for _ in range(4):
    next(loader)
begin, cpu, done = time.perf_counter(), time.process_time(), 0
while done < images:
    done += next(loader)
print(json.dumps({"img_s": done / (time.perf_counter() - begin),
                  "img_s_core": done / (time.process_time() - cpu)},
                 separators=(",", ":")))
