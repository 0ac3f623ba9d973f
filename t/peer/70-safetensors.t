#!/bin/sh
# The joined file as Python's safetensors reads it, and the other way.
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"
P=${PEER_PYTHON:-python3}
"$P" -c 'import safetensors.numpy, numpy' 2>/dev/null ||
    skip_all 'peer: no Python with safetensors and numpy'

"$BIN/t/70-ckpt.t" make run 24 3 0.37
expect_status 0 'join' "$BIN/ckpt-merge" --all -o m.safetensors run
expect_status 0 'Python reads it' "$P" -c '
import hashlib, numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
with safe_open("m.safetensors", "np") as f:
    m = f.metadata()
assert m["format"] == "pt" and m["accel.step"] == "24", m
t = load_file("m.safetensors")
def seq(n, start):
    return ((start + np.arange(n, dtype=np.float64)) * 0.37).astype(np.float32)
want = {
    "conv1.weight": seq(24, 24).reshape(2, 3, 2, 2),
    "bn1.bias": seq(5, 124),
    "bn1.num_batches_tracked": np.array(24, dtype=np.int64),
    "fc.weight": seq(10, 224).reshape(2, 5),
    "fc.empty": np.zeros(0, np.float32),
    "momentum.conv1.weight": seq(24, 324).reshape(2, 3, 2, 2),
    "momentum.fc.weight": seq(10, 424).reshape(2, 5),
}
assert set(t) == set(want), set(t) ^ set(want)
for k, v in want.items():
    assert t[k].dtype == v.dtype and t[k].shape == v.shape, k
    assert np.array_equal(t[k], v), k
data = open("m.safetensors", "rb").read()
n = int.from_bytes(data[:8], "little")
assert hashlib.sha256(data[8 + n:]).hexdigest() == m["accel.sha256"]
save_file(t, "theirs.safetensors")
t["fc.weight"][1, 2] += 1
save_file(t, "other.safetensors")
'
tap_comment "$(cat err)"
expect_status 0 'their file is equal' \
    "$BIN/ckpt-merge" diff m.safetensors theirs.safetensors
expect_status 1 'another is not' \
    "$BIN/ckpt-merge" diff m.safetensors other.safetensors
like "$(cat out)" '^fc.weight	differs	max 1, 1 of 10 elements, first 7$' \
    'in one element'
if "$P" -c 'import torch' 2>/dev/null; then
    expect_status 0 'load_state_dict takes it as it is' "$P" -c '
import torch
from safetensors.torch import load_file
t = load_file("m.safetensors")
bn = torch.nn.Linear(5, 2, bias=False)
bn.load_state_dict({"weight": t["fc.weight"]})
assert t["bn1.num_batches_tracked"].dtype == torch.int64
'
else
    skip 1 'peer: no torch'
fi
done_testing
