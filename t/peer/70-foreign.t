#!/bin/sh
# Files of torch.save and pickled arrays as ckpt-merge reads them, beside what
# PyTorch and numpy had put in.
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"
P=${PEER_PYTHON:-python3}
"$P" -c 'import torch, numpy, safetensors.torch' 2>/dev/null ||
    skip_all 'peer: no Python with torch, numpy and safetensors'

expect_status 0 'written' "$P" -c '
import argparse, collections, json, os, pickle, numpy as np, torch
from safetensors.torch import save_file
torch.manual_seed(7)
base = torch.randn(6, 5)
model = collections.OrderedDict(
    ("module." + k, v) for k, v in {
        "conv1.weight": torch.randn(4, 3, 7, 7),
        "turned": base.t(), "part": base[2:5, 1:4], "step": base[::2],
        "wide": torch.randn(1, 3).expand(4, 3), "flat": base.view(-1),
        "half": torch.randn(9).half(), "bf": torch.randn(9).bfloat16(),
        "double": torch.randn(2, 2, dtype=torch.float64),
        "counter": torch.tensor(12), "empty": torch.zeros(0, 3),
        "bool": torch.tensor([True, False]), "byte": torch.arange(7).byte(),
        "short": torch.arange(5).short(), "int": torch.arange(5).int(),
        "channels_last": torch.randn(2, 3, 4, 5).contiguous(
            memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }.items())
layer = torch.nn.Linear(5, 3)
opt = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
layer(base).sum().backward()
opt.step()
whole = {"epoch": 3, "arch": "resnet50", "state_dict": model,
         "optimizer": opt.state_dict(),
         "args": argparse.Namespace(lr=0.1, names=["a", "b"])}
torch.save(whole, "zip.pth")
torch.save(whole, "stream.pth", _use_new_zipfile_serialization=False)
torch.save(layer.state_dict(), "bare.pth")
torch.save({"model": layer.state_dict(), "model_ema":
            torch.optim.swa_utils.AveragedModel(layer).state_dict()}, "ema.pth")
save_file({k[7:]: v.detach().contiguous().clone() for k, v in model.items()},
          "model.st")
save_file({k: v.detach().clone() for k, v in layer.state_dict().items()}, "bare.st")
save_file({"state_dict." + k: v.detach().contiguous().clone()
           for k, v in model.items()} | {
    "optimizer.state.%d.momentum_buffer" % i: s["momentum_buffer"].contiguous().clone()
    for i, s in opt.state_dict()["state"].items()}, "whole.st")
tv = {"conv1.weight": torch.randn(2, 3, 7, 7), "layer1.0.bn1.bias": torch.randn(4)}
os.makedirs("dir")
save_file(tv, "tv.st")
save_file({"conv1.weight": tv["conv1.weight"]}, "dir/model-1.safetensors")
save_file({"layer1.0.bn1.bias": tv["layer1.0.bn1.bias"]}, "dir/model-2.safetensors")
json.dump({"metadata": {}, "weight_map": {
    k: "model-%d.safetensors" % (i + 1) for i, k in enumerate(tv)}},
    open("dir/model.safetensors.index.json", "w"))
os.makedirs("old")
torch.save({"conv1.weight": tv["conv1.weight"]}, "old/pytorch_model-1.bin")
torch.save({"layer1.0.bn1.bias": tv["layer1.0.bn1.bias"]}, "old/pytorch_model-2.bin")
json.dump({"metadata": {}, "weight_map": {
    k: "pytorch_model-%d.bin" % (i + 1) for i, k in enumerate(tv)}},
    open("old/pytorch_model.bin.index.json", "w"))
class Stem(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 2, 7, bias=False)
        self.fc = torch.nn.Linear(2, 2)
stem = Stem()
save_file({k: v.clone() for k, v in stem.state_dict().items()}, "stem.st")
averaged = torch.optim.swa_utils.AveragedModel(torch.compile(stem))
torch.save({"state_dict": {"model." + k: v for k, v in torch.compile(stem).state_dict().items()},
            "model_ema": averaged.state_dict()}, "compiled.pth")
arrays = {"model": {
    "conv1_w": np.random.randn(4, 3, 7, 7).astype("f4"),
    "res2_0_branch2a_w": np.asfortranarray(np.random.randn(3, 4, 2).astype("f4")),
    "res2_0_branch2a_bn_s": np.random.randn(5).astype(">f8"),
    "fc1000_b": np.arange(9, dtype="i8"), "fc1000_w": np.arange(6, dtype="u1"),
    "pred_b": np.zeros((0, 2), "f4"), "half": np.arange(3).astype("f2"),
    "flags": np.array([True, False])}, "__author__": "us", "n": np.float32(2)}
for p in range(2, 6):
    pickle.dump(arrays, open("arrays%d.pkl" % p, "wb"), protocol=p)
save_file({k: torch.from_numpy(np.ascontiguousarray(v).astype(v.dtype.newbyteorder("=")))
           for k, v in arrays["model"].items()}, "arrays.st")
class Evil:
    def __reduce__(self):
        return (open, ("evil", "w"))
torch.save({"w": base, "x": Evil()}, "evil.pth")
pickle.dump({"w": np.zeros(3), "x": Evil()}, open("evil.pkl", "wb"))
'
C=$BIN/ckpt-merge
for f in zip stream; do
    expect_status 0 "$f: read" "$C" -o out.st $f.pth
    expect_status 0 "$f: the model" "$C" diff out.st model.st
    expect_status 0 "$f: all of it" "$C" --all -o out.st $f.pth
    expect_status 0 "$f: the same" "$C" diff out.st whole.st
done
expect_status 0 'a state_dict by itself' "$C" diff bare.pth bare.st
expect_status 0 'the average of a model' "$C" --ema -o out.st ema.pth
expect_status 0 'is a model' "$C" diff out.st bare.st
expect_status 0 'files and an index' "$C" -o out.st dir
expect_status 0 'are a model' "$C" diff out.st tv.st
expect_status 0 'of torch.save, too' "$C" -o out.st old
expect_status 0 'are a model' "$C" diff out.st tv.st
for ema in '' --ema; do
    # shellcheck disable=SC2086
    expect_status 0 "compiled, wrapped $ema" "$C" $ema -o out.st compiled.pth
    expect_status 0 'has its own names' "$C" diff out.st stem.st
done
for p in 2 3 4 5; do
    expect_status 0 "arrays, protocol $p" "$C" diff arrays$p.pkl arrays.st
done
for f in evil.pth evil.pkl; do
    expect_status 65 "$f" "$C" -o x $f
    like "$(cat err)" 'asks for (io|_io|builtins).open, which no tensor needs' 'refused'
done
[ ! -e evil ] && [ ! -e x ]
ok $? 'and nothing was called'
done_testing
