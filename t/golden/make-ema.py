"""Make ema.txt: the average of weights as torchvision's training script keeps it.

    python make-ema.py > ema.txt

The class is that of pytorch/vision references/classification/utils.py, its use
that of train.py there (model_ema), on a made-up model whose weights move by a
formula (value() here and in t/unit/52-ema.c), for 50 steps: 10 an epoch, 1 epoch
of warm-up, an update every 4, a batch of 64, 5 epochs, decay 0.9998.

Lines "decay D", then for some steps "STEP weight|running|counter VALUE...", and
"STEP averaged N".
"""
import torch

STEPS, PER_EPOCH, WARMUP, EVERY, BATCH, EPOCHS, DECAY = 50, 10, 1, 4, 64, 5, 0.9998


class ExponentialMovingAverage(torch.optim.swa_utils.AveragedModel):
    def __init__(self, model, decay):
        def ema_avg(avg_model_param, model_param, num_averaged):
            return decay * avg_model_param + (1 - decay) * model_param

        super().__init__(model, None, ema_avg, use_buffers=True)


def value(i, step):
    return ((i * 7 + step * 13) % 101) / 16 - 3


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(20))
        self.register_buffer("running", torch.zeros(6))
        self.register_buffer("counter", torch.tensor(0, dtype=torch.long))

    @torch.no_grad()
    def move(self, step):
        self.weight.copy_(torch.tensor([value(i, step) for i in range(20)]))
        self.running.copy_(torch.tensor([value(i, 2 * step) for i in range(6)]))
        self.counter.fill_(step)


def main():
    alpha = min(1.0, (1.0 - DECAY) * (BATCH * EVERY / EPOCHS))
    model = Model()
    model.move(0)
    ema = ExponentialMovingAverage(model, 1.0 - alpha)
    print("decay %.17g" % (1.0 - alpha))
    for step in range(STEPS):
        model.move(step + 1)
        epoch, i = divmod(step, PER_EPOCH)
        if i % EVERY == 0:
            ema.update_parameters(model)
            if epoch < WARMUP:
                ema.n_averaged.fill_(0)
        if step in (5, 12, 30, STEPS - 1):
            m = ema.module
            for name, t in (("weight", m.weight), ("running", m.running),
                            ("counter", m.counter)):
                print(step, name, *("%.9g" % v for v in t.detach().flatten().tolist()))
            print(step, "averaged", ema.n_averaged.item())


main()
