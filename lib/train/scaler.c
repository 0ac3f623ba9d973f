#include "train/scaler.h"

void scaler_init(struct scaler *s, const struct recipe *r)
{
    s->on = r->prec == PREC_FP16;
    s->dynamic = s->on && r->loss_scale <= 0;
    s->scale = !s->on ? 1 : s->dynamic ? SCALER_START : r->loss_scale;
    s->good = 0;
    s->skipped = 0;
}

void scaler_rules(const struct scaler *s, struct kern_step *k)
{
    k->scaled = s->on;
    k->dynamic = s->dynamic;
    k->interval = SCALER_INTERVAL;
}
