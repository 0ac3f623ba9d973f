"""Gloo's sum of one bucket over ranks of this host, as JSON: torch_allreduce.py
RANKS BYTES ITERS."""
import json
import os
import sys
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def rank(r, n, size, iters, store):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + store, rank=r, world_size=n)
    t = torch.ones(size // 4)
    for _ in range(2):
        dist.all_reduce(t)
        t.fill_(1.0)
    dist.barrier()
    begin = time.perf_counter()
    for _ in range(iters):
        dist.all_reduce(t)
    took = (time.perf_counter() - begin) / iters
    if r == 0:
        print(json.dumps({"engine": "gloo", "ranks": n, "bytes": size, "ms": took * 1e3}, separators=(",", ":")), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    n, size, iters = map(int, sys.argv[1:4])
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as d:
        mp.spawn(rank, (n, size, iters, d + "/store"), nprocs=n)
