#include "train/scaler.h"

#include <math.h>

void scaler_init(struct scaler *s, const struct recipe *r)
{
    s->on = r->prec == PREC_FP16;
    s->dynamic = s->on && r->loss_scale <= 0;
    s->scale = !s->on ? 1 : s->dynamic ? SCALER_START : r->loss_scale;
    s->good = 0;
    s->skipped = 0;
}

bool scaler_update(struct scaler *s, bool finite)
{
    if (!finite) {
        s->skipped++;
        s->good = 0;
        if (s->dynamic)
            s->scale *= 0.5;
        return false;
    }
    if (s->dynamic && ++s->good == SCALER_INTERVAL) {
        /* fp32 holds the scale where the reference keeps it */
        if (isfinite((float)(s->scale * 2)))
            s->scale *= 2;
        s->good = 0;
    }
    return true;
}
