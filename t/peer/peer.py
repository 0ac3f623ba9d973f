"""What the comparisons with PyTorch share. Needs TOP and BIN."""
import importlib.util
import json
import os
import struct

import numpy as np

top, binary = os.environ["TOP"], os.environ["BIN"]
TYPES = {"U8": np.uint8, "I64": np.int64, "I32": np.int32}


def check(good, text):
    """A line of TAP without its number; t/lib/peer.sh counts."""
    print("%s - %s" % ("ok" if good else "not ok", text), flush=True)


def script(name):
    """A program of t/golden as a module."""
    spec = importlib.util.spec_from_file_location(
        name[:-3].replace("-", "_"), top + "/t/golden/" + name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def batches(path):
    """Metadata and tensors of the batch frames of a file."""
    data = open(path, "rb").read()
    at = 0
    while at < len(data):
        n, = struct.unpack_from("<Q", data, at)
        head = json.loads(data[at + 8:at + 8 + n])
        at += 8 + n
        meta, end, tensors = head.pop("__metadata__"), 0, {}
        for name, t in head.items():
            b, e = t["data_offsets"]
            end = max(end, e)
            tensors[name] = np.frombuffer(
                data[at + b:at + e], TYPES[t["dtype"]]).reshape(t["shape"])
        at += end
        if meta["t"] == "batch":
            yield meta, tensors
