#!/bin/sh
# The average of the weights of a run of 50 steps, beside torch's AveragedModel as
# torchvision's training script uses it on the weights of the same steps. Needs
# Python with torch and safetensors (PEER_PYTHON).
EPOCHS=13 # of four steps
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"
PY=${PEER_PYTHON:-python3}
"$PY" -c 'import torch, safetensors' 2>/dev/null ||
    skip_all 'peer: no torch, safetensors'
. "$TOP/t/lib/train.sh"

cat > compare.py << 'END'
import glob
import sys

import torch
from safetensors.torch import load_file

EPOCH_STEPS, EVERY, EPOCHS, BATCH, WARMUP, DECAY, STEPS = 4, 3, 13, 16, 1, 0.999, 50


class ExponentialMovingAverage(torch.optim.swa_utils.AveragedModel):
    # pytorch/vision references/classification/utils.py
    def __init__(self, model, decay):
        def ema_avg(avg_model_param, model_param, num_averaged):
            return decay * avg_model_param + (1 - decay) * model_param

        super().__init__(model, None, ema_avg, use_buffers=True)


def state(step):
    return load_file(glob.glob("run/ckpt/step-%09d/rank-*" % step)[0])


def load(model, s):
    model.load_state_dict({n: t for n, t in s.items() if n in names})


first = state(1)
names = [n for n in first if not n.startswith(("momentum.", "ema."))]
# ours has narrower stages: a module that holds the same tensors
model = torch.nn.Module()
for n in names:
    m = model
    parts = n.split(".")
    for part in parts[:-1]:
        if not hasattr(m, part):
            m.add_module(part, torch.nn.Module())
        m = getattr(m, part)
    t = torch.zeros_like(first[n])
    if "running" in n or "num_batches" in n:
        m.register_buffer(parts[-1], t)
    else:
        m.register_parameter(parts[-1], torch.nn.Parameter(t))
alpha = min(1.0, (1.0 - DECAY) * (BATCH * EVERY / EPOCHS))
ema = ExponentialMovingAverage(model, 1.0 - alpha)
worst = 0
for step in range(STEPS):
    s = state(step + 1)
    load(model, s)
    epoch, i = divmod(step, EPOCH_STEPS)
    if i % EVERY == 0:
        ema.update_parameters(model)
        if epoch < WARMUP:
            ema.n_averaged.fill_(0)
    assert s["ema.n_averaged"].item() == ema.n_averaged.item(), step
    for n, t in ema.module.state_dict().items():
        d = (s["ema." + n].double() - t.double()).norm()
        worst = max(worst, (d / (t.double().norm() + 1e-12)).item())
        assert n in names
print("%.1e" % worst)
sys.exit(worst > 1e-6)
END

make_data
feed run SOLVER.EMA true SOLVER.WARMUP_EPOCHS 1 2> run.feed |
    worker run --save-every 1it --keep 0 --max-steps 50 SOLVER.EMA true \
        SOLVER.EMA_STEPS 3 SOLVER.EMA_DECAY 0.999 SOLVER.WARMUP_EPOCHS 1 2> run.err
is $? 75 'a run of 50 steps' || tap_comment "$(cat run.err)"
"$PY" compare.py > out 2> err
ok $? "50 steps: within $(cat out) of torchvision's average" ||
    tap_comment "$(tail -n 3 err)"
done_testing
