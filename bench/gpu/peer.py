"""PyTorch beside ours on one card: a training step, and rates.

    peer.py there                         is there a PyTorch? exit status 0
    peer.py libraries                     folders of its libraries, one a line
    peer.py info
    peer.py step DEVICE MODEL SIZE BATCH LEVEL DTYPE...
    peer.py rates DEVICE MODEL SIZE BATCH ROUNDS STEPS eager|compile DTYPE...

Prints JSON lines; the last one has the figures. Exit status 1: ours is wrong.
DEVICE is cuda, or cpu to try this script. Ours are the programs of BIN with the
plugin of ENGINE_PLUGIN; needs nothing but PyTorch. PEER_WIDTH: channels of the
stem, for rates.
"""
import ctypes
import importlib.util
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time

WIDTH, CLASSES = int(os.environ.get("PEER_WIDTH", 64)), 100
SCALE = {"F16": 1024.0, "BF16": 1.0, "F32": 1.0}


def say(**row):
    print(json.dumps(row, separators=(",", ":")), flush=True)


# ---- ResNet v1.5 with torchvision's names

def resnet(depth, classes):
    from torch import nn

    def conv(c, k, r, stride=1):
        return nn.Conv2d(c, k, r, stride, r // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, c, k, stride, wide):
            super().__init__()
            out = 4 * k if wide else k
            sizes = ([(c, k, 1, 1), (k, k, 3, stride), (k, out, 1, 1)]
                     if wide else [(c, k, 3, stride), (k, k, 3, 1)])
            self.n = len(sizes)
            for i, s in enumerate(sizes):
                setattr(self, "conv%d" % (i + 1), conv(*s))
                setattr(self, "bn%d" % (i + 1), nn.BatchNorm2d(s[1]))
            self.relu = nn.ReLU(inplace=True)
            self.downsample = None
            if stride > 1 or c != out:
                self.downsample = nn.Sequential(conv(c, out, 1, stride),
                                                nn.BatchNorm2d(out))

        def forward(self, x):
            y = x
            for i in range(1, self.n + 1):
                y = getattr(self, "bn%d" % i)(getattr(self, "conv%d" % i)(y))
                if i < self.n:
                    y = self.relu(y)
            return self.relu(y + (self.downsample(x) if self.downsample
                                  else x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            wide = depth >= 50
            self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(WIDTH)
            self.relu = nn.ReLU(inplace=True)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            c = WIDTH
            for i, n in enumerate({18: (2, 2, 2, 2), 34: (3, 4, 6, 3),
                                   50: (3, 4, 6, 3)}[depth]):
                blocks = []
                for j in range(n):
                    blocks.append(Block(c, WIDTH << i,
                                        2 if i and not j else 1, wide))
                    c = (WIDTH << i) * (4 if wide else 1)
                setattr(self, "layer%d" % (i + 1), nn.Sequential(*blocks))
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(c, classes)

        def forward(self, x):
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.fc(self.avgpool(x).flatten(1))

    return Net()


def depth_of(name):
    return int(name.replace("resnet", ""))


# ---- files of tensors

TYPES = {"F64": ("d", 8), "F32": ("f", 4), "I64": ("q", 8), "U8": ("B", 1)}


def save(path, tensors):
    import torch
    names = {torch.float64: "F64", torch.float32: "F32", torch.int64: "I64",
             torch.uint8: "U8"}
    head, at, data = {}, 0, []
    for name, t in tensors.items():
        t = t.contiguous().cpu()
        raw = ctypes.string_at(t.data_ptr(), t.numel() * t.element_size())
        head[name] = {"dtype": names[t.dtype], "shape": list(t.shape),
                      "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        data.append(raw)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def load(path):
    import torch
    types = {"F64": torch.float64, "F32": torch.float32, "I64": torch.int64}
    data = bytearray(open(path, "rb").read())
    n, = struct.unpack_from("<Q", data)
    head, base, out = json.loads(data[8:8 + n]), 8 + n, {}
    for name, t in head.items():
        if name == "__metadata__":
            continue
        b, e = t["data_offsets"]
        v = torch.frombuffer(data[base + b:base + e], dtype=types[t["dtype"]])
        out[name] = v.reshape(t["shape"])
    return out


# ---- one step

def exact(torch):
    """fp32 as it is, not rounded to TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def far(a, b, least=0.0):
    return ((a.double().cpu() - b).norm() / max(b.norm(), least)).item()


def fresh(depth):
    """Betas far from zero: few activations then lie within rounding of it,
    where a gradient jumps."""
    import torch
    torch.manual_seed(1)
    model = resnet(depth, CLASSES).train()
    last = "bn3." if depth >= 50 else "bn2."
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1 or name.startswith("fc"):
                continue
            size = 0.2 if last in name else 1.0
            v = torch.rand_like(p) * 2 - 1
            if name.endswith("weight"):
                p.copy_((1 + 0.25 * v) * size)
            else:
                p.copy_((2 * v.sign() + v) * size)
    return model


def torch_step(model, x, label, device, dtype, half):
    """Loss, logits and gradients; half: under autocast to it."""
    import contextlib
    import torch
    model = model.to(device=device, dtype=dtype).to(
        memory_format=torch.channels_last)
    x = x.to(device=device, dtype=dtype).contiguous(
        memory_format=torch.channels_last)
    scale = SCALE["F16"] if half == torch.float16 else 1.0
    cast = (torch.autocast(device, half) if half else
            contextlib.nullcontext())
    with cast:
        logits = model(x)
        loss = torch.nn.functional.cross_entropy(
            logits.float() if half else logits, label.to(device))
    (loss * scale).backward()
    return {"loss": loss.item(), "logits": logits.detach(),
            "grad": {n: p.grad / scale for n, p in model.named_parameters()}}


def our_step(folder, model, dtype, level):
    program = os.path.join(os.environ["BIN"], "t", "43-golden-resnet.t")
    name = [os.path.join(folder, n + ".safetensors")
            for n in ("weights", "batch", "out", "state")]
    args = [program, "cuda", dtype, model] + name + [str(SCALE[dtype])]
    if level != "-":
        args.append(level)
    env = dict(os.environ, BIN=os.environ["ENGINE_PLUGIN"])
    done = subprocess.run(args, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit("peer.py: %s: %s" % (dtype, (done.stderr or
                                              done.stdout).strip()[-300:]))
    out = load(name[2])
    return {"loss": out["loss"][0].item(), "logits": out["logits"],
            "grad": {n[5:]: t for n, t in out.items()
                     if n.startswith("grad/")}}


def distances(r, wide):
    import torch
    # a gradient that vanishes is judged by what the others are
    least = 1e-2 * statistics.median(t.norm() for t in wide["grad"].values())
    each = sorted((far(r["grad"][n], wide["grad"][n], least), n)
                  for n in wide["grad"])
    whole = [torch.cat([x["grad"][n].double().cpu().flatten()
                        for n in wide["grad"]]) for x in (r, wide)]
    return {"loss": abs(r["loss"] / wide["loss"] - 1),
            "logits": far(r["logits"], wide["logits"]),
            "gradients": far(*whole), "median": each[len(each) // 2][0],
            "worst": each[-1][0], "worst_name": each[-1][1]}


# What ours may be further from float64 than PyTorch in the same precision on the
# same card, and what is less than anybody can tell.
TIMES = {"logits": 2, "gradients": 2, "median": 2, "worst": 4}
LEAST = {"F32": 1e-4, "F16": 4e-3, "BF16": 3e-2}


def step(device, model, size, batch, level, *dtypes):
    import torch
    size, batch, depth = int(size), int(batch), depth_of(model)
    exact(torch)
    g = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8,
                           generator=g)
    label = torch.randint(0, CLASSES, (batch,), generator=g)
    mean = torch.tensor((0.485, 0.456, 0.406), dtype=torch.float64)
    std = torch.tensor((0.229, 0.224, 0.225), dtype=torch.float64)
    x = ((pixels.double() / 255 - mean) / std).permute(0, 3, 1, 2)
    folder = tempfile.mkdtemp()
    save(folder + "/weights.safetensors", fresh(depth).state_dict())
    save(folder + "/batch.safetensors",
         {"image": pixels, "label": label,
          "lr": torch.zeros(1, dtype=torch.float64)})
    wide = torch_step(fresh(depth), x, label, "cpu", torch.float64, None)
    wide["grad"] = {n: t.double() for n, t in wide["grad"].items()}
    bad, figures = [], {}
    halves = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": None}
    for dtype in dtypes:
        theirs = distances(torch_step(fresh(depth), x, label, device,
                                      torch.float32, halves[dtype]), wide)
        say(row="step", who="torch", dtype=dtype, **theirs)
        for l in ["B"] + [level] * (level != "B" and dtype == "F16"):
            ours = distances(our_step(folder, model, dtype, l), wide)
            say(row="step", who="ours", level=l, dtype=dtype, **ours)
            bound = {k: max(n * theirs[k], LEAST[dtype])
                     for k, n in TIMES.items()}
            bound["loss"] = max(2 * theirs["logits"], LEAST[dtype])
            bad += ["%s %s %s %.1e, torch %.1e" % (dtype, l, k, ours[k],
                                                   theirs[k])
                    for k in bound if not ours[k] <= bound[k]]
            figures["%s %s gradients" % (dtype, l)] = ours["gradients"]
    say(wrong=bad, **figures)
    if bad:
        sys.exit("peer.py: " + "; ".join(bad)[:300])


# ---- rates

PRECISION = {"F16": "fp16", "BF16": "bf16", "F32": "fp32"}


def our_rate(model, size, batch, steps, dtype, level):
    args = [os.path.join(os.environ["BIN"], "accel-worker"), "bench", "-q",
            "-e", "cuda", "--engine-dir", os.environ["ENGINE_PLUGIN"], "-n",
            str(steps), "--warm", "5", *level,
            "MODEL.NAME", model, "MODEL.WIDTH", str(WIDTH), "INPUT.SIZE",
            str(size), "SOLVER.BATCH", str(batch), "SOLVER.PRECISION",
            PRECISION[dtype]]
    done = subprocess.run(args, capture_output=True, text=True)
    if done.returncode:
        sys.exit("peer.py: ours: " + done.stderr.strip()[-300:])
    return json.loads(done.stdout)


class Torch:
    """Training steps on one batch that stays on the card."""

    def __init__(self, device, model, size, batch, how, dtype):
        import torch
        exact(torch)
        self.torch, self.device, self.batch = torch, device, batch
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(0)
        net = resnet(depth_of(model), 1000).train().to(device)
        net = net.to(memory_format=torch.channels_last)
        self.sgd = torch.optim.SGD(net.parameters(), 1e-3, 0.9,
                                   weight_decay=1e-4, fused=device == "cuda")
        self.x = torch.randn(batch, 3, size, size, device=device).to(
            memory_format=torch.channels_last)
        self.label = torch.randint(0, 1000, (batch,), device=device)
        self.half = {"F16": torch.float16, "BF16": torch.bfloat16,
                     "F32": None}[dtype]
        self.scaler = torch.amp.GradScaler(
            device, enabled=self.half == torch.float16)
        self.net = torch.compile(net) if how == "compile" else net

    def step(self):
        torch = self.torch
        self.sgd.zero_grad(set_to_none=True)
        with torch.autocast(self.device, self.half or torch.float16,
                            enabled=self.half is not None):
            loss = torch.nn.functional.cross_entropy(self.net(self.x),
                                                     self.label)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.sgd)
        self.scaler.update()
        return loss

    def wait(self):
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def rate(self, steps):
        for _ in range(5 if steps > 5 else 1):
            self.step()
        self.wait()
        begin = time.perf_counter()
        for _ in range(steps):
            self.step()
        self.wait()
        return self.batch * steps / (time.perf_counter() - begin)


def rates(device, model, size, batch, rounds, steps, how, *dtypes):
    size, batch, rounds, steps = map(int, (size, batch, rounds, steps))
    figures = {}
    level = os.environ.get("LEVEL", "").split()
    for dtype in dtypes:
        slow = dtype == "F32"  # by ten times, and nobody's choice
        n = max(1, steps // 4) if slow else steps
        begin = time.perf_counter()
        peer = Torch(device, model, size, batch, how, dtype)
        peer.rate(1)
        warm, theirs = time.perf_counter() - begin, []
        ours = {dtype: level}
        if dtype == "F16" and how == "eager" and not level:
            ours["F16 B"] = ["--engine-level", "B"]
        rate, line = {name: [] for name in ours}, {}
        for _ in range(1 if slow else rounds):
            for name, options in ours.items():
                line[name] = our_rate(model, size, batch, n, dtype,
                                      options)
                rate[name].append(line[name]["img_s"])
            theirs.append(peer.rate(n))
        b = statistics.median(theirs)
        say(row="rate", who="torch", dtype=dtype, batch=batch, how=how,
            img_s=theirs, first_s=warm)
        for name in ours:
            a, l = statistics.median(rate[name]), line[name]
            say(row="rate", who="ours", dtype=dtype, level=ours[name],
                batch=batch, img_s=rate[name], ms=l["ms"],
                first_s=l["first_s"], bytes=l["engine_bytes"])
            figures.update({name + " img_s": a, name + " ratio": a / b})
        figures[dtype + " torch"] = b
        del peer
        if device == "cuda":
            import torch
            torch.cuda.empty_cache()
    say(peer=how, batch=batch, **figures)


# ---- what there is

def there():
    sys.exit(importlib.util.find_spec("torch") is None)


def libraries():
    """Without importing PyTorch, which takes seconds."""
    import glob
    spec = importlib.util.find_spec("nvidia")
    for base in spec.submodule_search_locations if spec else ():
        for path in sorted(glob.glob(base + "/*/lib/libcudnn.so.9") +
                           glob.glob(base + "/*/lib/libnvrtc.so.*")):
            print(os.path.dirname(path))


def info():
    import torch
    gpu = torch.cuda.is_available()
    say(torch=torch.__version__, cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
        device=torch.cuda.get_device_name() if gpu else None)


if __name__ == "__main__":
    {"there": there, "libraries": libraries, "info": info, "step": step,
     "rates": rates}[sys.argv[1]](*sys.argv[2:])
