/* Cases of 30-ops.c: the forms of convolution. */

/* n h w c k r stride pad */
static const int convs[][8] = {
    {1, 1, 1, 1, 1, 1, 1, 0},
    {2, 1, 1, 64, 17, 1, 1, 0},
    {1, 7, 5, 3, 16, 3, 1, 1},
    {2, 8, 9, 5, 3, 3, 2, 1},
    {1, 15, 14, 3, 64, 7, 2, 3},
    {3, 6, 6, 16, 17, 1, 2, 0},
    {2, 5, 5, 17, 100, 1, 1, 0},
    {1, 9, 7, 64, 64, 3, 1, 1},
    {1, 6, 7, 100, 5, 3, 2, 1},
    {2, 3, 3, 16, 16, 3, 1, 0},
    {1, 13, 2, 1, 3, 3, 1, 2},
    {3, 4, 1, 8, 8, 1, 1, 0},
    /* shapes for matrix tiles */
    {2, 7, 7, 64, 32, 3, 1, 1},
    {3, 9, 6, 32, 64, 3, 2, 1},
    {2, 9, 7, 32, 32, 1, 2, 0},
    {2, 40, 33, 32, 64, 1, 1, 0},
    {5, 7, 5, 32, 32, 3, 1, 0},
    {1, 9, 9, 32, 32, 5, 1, 3},
    {2, 11, 8, 32, 32, 2, 2, 0},
};

static bool conv_shape(struct run *r, int v, int forms, struct conv_desc *d,
                       int *form)
{
    const int *s = convs[v % COUNT(convs)];

    *form = v / COUNT(convs);
    *d = (struct conv_desc){.dtype = r->dt, .out = r->dt, .param = r->pt};
    d->n = s[0], d->h = s[1], d->w = s[2], d->c = s[3], d->k = s[4];
    d->r = d->s = s[5];
    d->stride = s[6];
    d->pad = s[7];
    snprintf(r->what, sizeof(r->what),
             "%dx%dx%dx%d to %d window %d/%d/%d form %d", s[0], s[1], s[2],
             s[3], s[4], s[5], s[6], s[7], *form);
    return *form < forms;
}

static int64_t x_size(const struct conv_desc *d)
{
    return d->n * d->h * d->w * d->c;
}

static int64_t y_size(const struct conv_desc *d)
{
    return d->n * conv_p(d) * conv_q(d) * d->k;
}

static int64_t w_size(const struct conv_desc *d)
{
    return d->k * d->r * d->s * d->c;
}

/* The plain operands by kind; out unless it is there already. */
static void conv_operands(struct run *r, const struct conv_desc *d,
                          struct conv_args *a)
{
    if (d->kind != CONV_DGRAD)
        a->x = in(r, ACT, x_size(d));
    if (d->kind != CONV_FORWARD)
        a->dy = in(r, ACT, y_size(d));
    if (d->kind != CONV_WGRAD)
        a->w = in_as(r, PAR, w_size(d), NORMAL, true);
    if (d->kind == CONV_FORWARD)
        a->out = out(r, "y", d->out == d->dtype ? ACT : PAR, y_size(d));
    else if (d->kind == CONV_DGRAD)
        a->out = out(r, "dx", ACT, x_size(d));
    else if (!a->out)
        a->out = out(r, "dw", PAR, w_size(d));
}

/* The plan in the way of this run; NULL: it cannot be had. */
static struct conv_plan *conv_plan_of(struct run *r, const struct conv_desc *d,
                                      struct conv_needs *needs)
{
    const char *name[16];
    struct conv_plan *plan;

    r->ways = engine_conv_forms(r->e, d, name, COUNT(name));
    if (r->way == 0) {
        if (engine_conv_plan(r->e, d, &plan, needs) < 0)
            die();
        return plan;
    }
    snprintf(r->what + strlen(r->what), sizeof(r->what) - strlen(r->what),
             " as %s", name[r->way]);
    if (engine_conv_plan_as(r->e, d, name[r->way], &plan, needs) == 0)
        return plan;
    if (err_code() != ERR_UNAVAILABLE)
        die();
    r->absent = true;
    return NULL;
}

static void conv_go(struct run *r, const struct conv_desc *d,
                    struct conv_args *a)
{
    struct conv_plan *plan;
    struct conv_needs needs;
    void *packed;

    if (!engine_conv_available(r->e, d)) {
        r->absent = true;
        return;
    }
    plan = conv_plan_of(r, d, &needs);
    if (!plan)
        return;
    if (needs.packed_bytes) {
        packed = array(r, (int64_t)needs.packed_bytes, 1);
        if (engine_conv_pack(r->e, plan, a->w, packed) < 0)
            die();
        a->w = packed;
    }
    if (needs.scratch_bytes)
        a->scratch = array(r, (int64_t)needs.scratch_bytes, 1);
    if (engine_conv_run(r->e, plan, a) < 0)
        die();
    engine_conv_free(r->e, plan);
}

/* cuDNN gives the gradient of weights in halves, to be added in fp32. */
static void wgrad_in_halves(struct run *r)
{
    if (dtype_size(r->dt) == 2 && strcmp(engine_name(r->e), "cuda") == 0) {
        r->loose = true;
        r->absent = r->absent || r->whole;
    }
}

/* forward, dgrad, wgrad, wgrad adding, forward with a result in pt */
static bool c_conv_plain(struct run *r, int v)
{
    struct conv_args a = {0};
    struct conv_desc d;
    int form;

    if (!conv_shape(r, v, 5, &d, &form))
        return false;
    d.kind = form == 0 || form == 4 ? CONV_FORWARD
             : form == 1            ? CONV_DGRAD
                                    : CONV_WGRAD;
    if (form >= 2)
        d.out = r->pt;
    a.accumulate = form == 3;
    if (a.accumulate)
        a.out = inout(r, "dw", PAR, w_size(&d));
    conv_operands(r, &d, &a);
    conv_go(r, &d, &a);
    if (form >= 2 && form < 4)
        wgrad_in_halves(r);
    return true;
}

/* relu of a norm, with an addend; the same before a wgrad; with sums behind */
static bool c_conv_pro(struct run *r, int v)
{
    struct conv_args a = {0};
    struct conv_desc d;
    int form;

    if (!conv_shape(r, v, 5, &d, &form))
        return false;
    d.pro = form & 1 ? PRO_SBAR : PRO_SBR;
    d.epi = form == 4 ? EPI_STATS : EPI_NONE;
    d.kind = form & 2 ? CONV_WGRAD : CONV_FORWARD;
    d.out = form & 2 ? r->pt : r->dt;
    conv_operands(r, &d, &a);
    a.pro_scale = in(r, PAR, d.c);
    a.pro_bias = in(r, PAR, d.c);
    if (d.pro == PRO_SBAR)
        a.pro_add = in(r, ACT, x_size(&d));
    if (form == 4) {
        a.sum = out(r, "sum", PAR, d.k);
        a.sumsq = out(r, "sumsq", PAR, d.k);
    }
    r->loose = true;
    conv_go(r, &d, &a);
    if (form & 2)
        wgrad_in_halves(r);
    if (form == 4 && dtype_size(r->dt) == 2) /* sums of what was rounded */
        r->absent = r->absent || r->whole;
    return true;
}

/* statistics; bias, with an addend, each with and without relu; linear */
static bool c_conv_forward(struct run *r, int v)
{
    struct conv_args a = {0};
    struct conv_desc d;
    int form;

    if (!conv_shape(r, v, 6, &d, &form))
        return false;
    d.kind = CONV_FORWARD;
    d.epi = form == 0 ? EPI_STATS : form < 3 ? EPI_BIAS : EPI_ADD_BIAS;
    d.relu = form == 2 || form == 4;
    if (form == 5) {
        d.epi = EPI_BIAS;
        d.out = r->pt;
    }
    conv_operands(r, &d, &a);
    if (d.epi == EPI_STATS) {
        a.sum = out(r, "sum", PAR, d.k);
        a.sumsq = out(r, "sumsq", PAR, d.k);
    } else {
        a.bias = in(r, PAR, d.k);
    }
    if (d.epi == EPI_ADD_BIAS)
        a.add = in(r, ACT, y_size(&d));
    r->loose = true;
    conv_go(r, &d, &a);
    return true;
}

/* addend; relu of y, of a norm, of two norms, of a norm and a residual, each with
 * and without addend */
static bool c_conv_dgrad(struct run *r, int v)
{
    static const char *const names[2][2] = {{"dbeta", "dgamma"},
                                            {"dbeta 2", "dgamma 2"}};
    struct conv_args a = {0};
    struct conv_desc d;
    int form, b, norms;

    if (!conv_shape(r, v, 9, &d, &form))
        return false;
    d.kind = CONV_DGRAD;
    d.epi = form == 0              ? EPI_ADD
            : form < 3             ? EPI_DACT
            : form < 5 || form > 6 ? EPI_BNSUMS1
                                   : EPI_BNSUMS2;
    norms = form < 3 ? 0 : d.epi == EPI_BNSUMS1 ? 1 : 2;
    d.add = form > 0 && form % 2 == 0;
    d.residual = form > 6;
    conv_operands(r, &d, &a);
    a.add = form % 2 == 0 ? in(r, ACT, x_size(&d)) : NULL;
    a.residual = d.residual ? in(r, ACT, x_size(&d)) : NULL;
    a.y = d.epi == EPI_DACT ? in(r, ACT, x_size(&d)) : NULL;
    for (b = 0; b < norms; b++) {
        a.bn[b].x = in(r, ACT, x_size(&d));
        a.bn[b].mean = in(r, PAR, d.c);
        a.bn[b].invstd = in_as(r, PAR, d.c, POSITIVE, false);
        a.bn[b].gamma = in(r, PAR, d.c);
        a.bn[b].beta = in(r, PAR, d.c);
        a.bn[b].dbeta = out(r, names[b][0], PAR, d.c);
        a.bn[b].dgamma = out(r, names[b][1], PAR, d.c);
    }
    r->loose = true;
    conv_go(r, &d, &a);
    return true;
}

/* Pictures whose pixels have zeros behind their channels, as the image kernel
 * leaves them: forward, wgrad, wgrad adding; four elements a pixel, or eight. All
 * values are a few 64ths, which every dtype holds. */
static bool c_conv_pitch(struct run *r, int v)
{
    static const int at[] = {0, 2, 4,
                             10}; /* of convs, three channels at most */
    struct kern_image image = {.dt = r->dt};
    struct conv_args a = {0};
    struct conv_desc d;
    int form = v / COUNT(at), i;

    if (form >= 6)
        return false;
    conv_shape(r, at[v % COUNT(at)] + form * COUNT(convs), 6, &d, &i);
    d.kind = form % 3 == 0 ? CONV_FORWARD : CONV_WGRAD;
    d.pitch = form < 3 ? 4 : 8;
    if (d.kind == CONV_WGRAD)
        d.out = r->pt;
    a.accumulate = form % 3 == 2;
    if (a.accumulate)
        a.out = inout(r, "dw", PAR, w_size(&d));
    conv_operands(r, &d, &a);
    image.c = (int)d.c;
    image.cy = (int)d.pitch;
    image.rows = d.n * d.h * d.w;
    for (i = 0; i < 4; i++) {
        image.mul[i] = 1.0f / 64;
        image.add[i] = -2;
    }
    image.x = in_as(r, BYTE, x_size(&d), IMAGE, false);
    image.y = array(r, image.rows * image.cy, dtype_size(r->dt));
    a.x = image.y;
    go(r, KERN_IMAGE, &image);
    conv_go(r, &d, &a);
    if (d.kind == CONV_WGRAD)
        wgrad_in_halves(r);
    return true;
}
