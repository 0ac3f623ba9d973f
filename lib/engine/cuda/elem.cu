/* Kernels that work element by element. */
#include "engine/cuda/gpu.h"
#include "engine/kern/elem.h"

#define MOST 4096 /* blocks: more than run at once on any card */

/* ---- flat: packs, and the elements behind the last one by themselves */

/* y[i] = f(i, up to three numbers); f has a member operator. */
template <class T, class Y, int V, class F>
__global__ void __launch_bounds__(GPU_BLOCK)
    k_flat(const T *x0, const T *x1, const T *x2, Y *y, int64_t n, F f)
{
    typedef gpu_pack<T, V> in;
    typedef gpu_pack<Y, V> result;
    int64_t packs = n / V, i, at;

    for (i = gpu_thread(); i < packs; i += gpu_threads()) {
        in a = ((const in *)x0)[i], b = a, c = a;
        result r;

        if (x1)
            b = ((const in *)x1)[i];
        if (x2)
            c = ((const in *)x2)[i];
        GPU_UNROLL
        for (int j = 0; j < V; j++)
            gpu_to(&r.e[j], f(gpu_of(a.e[j]), x1 ? gpu_of(b.e[j]) : 0.0f,
                              x2 ? gpu_of(c.e[j]) : 0.0f));
        ((result *)y)[i] = r;
    }
    at = packs * V + gpu_thread();
    if (at < n)
        gpu_to(&y[at], f(gpu_of(x0[at]), x1 ? gpu_of(x1[at]) : 0.0f,
                         x2 ? gpu_of(x2[at]) : 0.0f));
}

template <class T, class Y, class F>
static void flat(const struct cuk *l, const void *x0, const void *x1,
                 const void *x2, void *y, int64_t n, F f)
{
    const int wide =
        gpu_wide<T>::n < gpu_wide<Y>::n ? gpu_wide<T>::n : gpu_wide<Y>::n;
    const T *a = (const T *)x0, *b = (const T *)x1, *c = (const T *)x2;

    if (gpu_aligned(x0) && gpu_aligned(x1) && gpu_aligned(x2) &&
        gpu_aligned(y))
        GPU_LAUNCH_FLAT((k_flat<T, Y, wide, F>),
                        gpu_blocks((n + wide - 1) / wide, MOST), l, a, b, c,
                        (Y *)y, n, f);
    else
        GPU_LAUNCH_FLAT((k_flat<T, Y, 1, F>), gpu_blocks(n, MOST), l, a, b, c,
                        (Y *)y, n, f);
}

struct f_same {
    __device__ float operator()(float a, float, float) const
    {
        return a;
    }
};
struct f_add {
    __device__ float operator()(float a, float b, float) const
    {
        return a + b;
    }
};
struct f_relu {
    __device__ float operator()(float a, float, float) const
    {
        return kern_relu_at(a);
    }
};
struct f_relu_grad {
    __device__ float operator()(float y, float dy0, float dy1) const
    {
        return kern_relu_grad_at(y, dy0 + dy1);
    }
};

static void cast(const struct cuk *l, const struct kern_cast *a)
{
    GPU_TYPE(a->from, T,
             GPU_TYPE(a->to, Y, flat<T, Y>(l, a->x, NULL, NULL, a->y, a->n,
                                           f_same())));
}

static void add(const struct cuk *l, const struct kern_add *a)
{
    GPU_TYPE(a->dt, T,
             flat<T, T>(l, a->a, a->b, NULL, a->y, a->n, f_add()));
}

static void relu(const struct cuk *l, const struct kern_relu *a)
{
    GPU_TYPE(a->dt, T,
             flat<T, T>(l, a->x, NULL, NULL, a->y, a->n, f_relu()));
}

static void relu_grad(const struct cuk *l, const struct kern_relu_grad *a)
{
    GPU_TYPE(a->dt, T,
             flat<T, T>(l, a->y, a->dy0, a->dy1, a->dx, a->n, f_relu_grad()));
}

/* ---- pictures */

/* Pixel `at` of picture i, normalised and erased. */
static __device__ void pixel(const struct kern_image &a, int64_t i, int64_t at,
                             float *y)
{
    const uint8_t *x = a.x + (i * a.h * a.w + at) * a.c;
    bool erased =
        a.erase && kern_inside(a.erase + 4 * i, at / a.w, at % a.w);

    GPU_UNROLL
    for (int ch = 0; ch < 4; ch++)
        y[ch] = ch >= a.c || erased
                    ? 0.0f
                    : kern_image_at((float)x[ch], a.mul[ch], a.add[ch]);
}

/* Are whole pictures changed? Without that a pixel needs no division. */
template <class T>
__global__ void __launch_bounds__(GPU_BLOCK) k_image(struct kern_image a)
{
    int64_t size = a.h * a.w, row;

    for (row = gpu_thread(); row < a.rows; row += gpu_threads()) {
        T *to = (T *)a.y + row * a.cy;
        float y[4], other[4];

        if (size == 0) {
            pixel(a, 0, row, y);
        } else {
            int64_t i = row / size, at = row % size, n = a.rows / size;
            bool cut = kern_inside(a.box, at / a.w, at % a.w);

            pixel(a, i, at, y);
            if (cut || a.mix > 0)
                pixel(a, (i + n - 1) % n, at, other);
            GPU_UNROLL
            for (int ch = 0; ch < 4; ch++) {
                if (cut)
                    y[ch] = other[ch];
                else if (a.mix > 0)
                    y[ch] = kern_mixed(y[ch], other[ch], (float)(1 - a.mix),
                                       (float)a.mix);
            }
        }
        for (int ch = 0; ch < a.cy; ch++)
            gpu_to(&to[ch], ch < 4 ? y[ch] : 0.0f);
    }
}

/* Four pixels of three bytes, which lie in three words. */
struct quad {
    uint32_t word[3];
};

static __device__ __forceinline__ float byte_of(const quad &q, int i)
{
    return (float)(q.word[i / 4] >> i % 4 * 8 & 255);
}

/* Pixels of three channels that get CY of 16 bits, four by four, and the last
 * three by themselves. */
template <class T, int CY>
__global__ void __launch_bounds__(GPU_BLOCK) k_pixels(struct kern_image a)
{
    typedef gpu_pack<T, 8> pack;
    int64_t i, n = a.rows / 4;

    for (i = gpu_thread(); i < n; i += gpu_threads()) {
        quad q = ((const quad *)a.x)[i];

        GPU_UNROLL
        for (int p = 0; p < CY / 2; p++) {
            pack y;

            GPU_UNROLL
            for (int j = 0; j < 8; j++) {
                int row = (p * 8 + j) / CY, ch = (p * 8 + j) % CY;

                gpu_to(&y.e[j], ch < 3 ? kern_image_at(byte_of(q, row * 3 + ch),
                                                       a.mul[ch], a.add[ch])
                                       : 0.0f);
            }
            ((pack *)a.y)[i * (CY / 2) + p] = y;
        }
    }
    i = n * 4 + gpu_thread();
    if (i < a.rows) {
        float y[4];

        a.erase = NULL;
        pixel(a, 0, i, y);
        for (int ch = 0; ch < CY; ch++)
            gpu_to(&((T *)a.y)[i * CY + ch], ch < 4 ? y[ch] : 0.0f);
    }
}

template <class T> static void pixels(const struct cuk *l, kern_image a)
{
    dim3 blocks = gpu_blocks((a.rows + 3) / 4, MOST);

    if (a.cy == 4)
        GPU_LAUNCH_FLAT((k_pixels<T, 4>), blocks, l, a);
    else
        GPU_LAUNCH_FLAT((k_pixels<T, 8>), blocks, l, a);
}

static void image(const struct cuk *l, const struct kern_image *given)
{
    struct kern_image a = *given;
    bool aligned = gpu_aligned(a.y) && (uintptr_t)a.x % 4 == 0;

    if (a.h == 0)
        a.erase = NULL;
    if (a.h == 0 && a.c == 3 && (a.cy == 4 || a.cy == 8) && aligned &&
        a.dt == DT_F16)
        return pixels<f16>(l, a);
    if (a.h == 0 && a.c == 3 && (a.cy == 4 || a.cy == 8) && aligned &&
        a.dt == DT_BF16)
        return pixels<bf16>(l, a);
    GPU_TYPE(a.dt, T,
             GPU_LAUNCH_FLAT((k_image<T>), gpu_blocks(a.rows, MOST), l, a));
}

/* ---- parameters */

template <class T>
__global__ void __launch_bounds__(GPU_BLOCK) k_gather(struct cuk_gather a)
{
    const T *x = (const T *)a.x;
    float *dw = (float *)a.dw;
    int64_t i;

    for (i = gpu_thread(); i < a.n; i += gpu_threads()) {
        int64_t to = i;

        if (a.c != a.pitch) {
            if (i % a.pitch >= a.c)
                continue;
            to = i / a.pitch * a.c + i % a.pitch;
        }
        dw[to] = gpu_of(x[i]) + (a.accumulate ? dw[to] : 0.0f);
    }
}

extern "C" int cuk_gather(const struct cuk *l, const struct cuk_gather *a)
{
    GPU_TYPE(a->dt, T,
             GPU_LAUNCH_FLAT((k_gather<T>), gpu_blocks(a->n, MOST), l, *a));
    return GPU_LAST_ERROR();
}

template <class T>
__global__ void __launch_bounds__(GPU_BLOCK) k_pad(struct cuk_pad a)
{
    const float *x = (const float *)a.x;
    int64_t i;

    for (i = gpu_thread(); i < a.n; i += gpu_threads()) {
        int64_t ch = i % a.pitch;

        gpu_to(&((T *)a.y)[i], ch < a.c ? x[i / a.pitch * a.c + ch] : 0.0f);
    }
}

extern "C" int cuk_pad(const struct cuk *l, const struct cuk_pad *a)
{
    GPU_TYPE(a->dt, T,
             GPU_LAUNCH_FLAT((k_pad<T>), gpu_blocks(a->n, MOST), l, *a));
    return GPU_LAST_ERROR();
}

template <class T>
__global__ void __launch_bounds__(GPU_BLOCK)
    k_vectors(struct cuk_vectors a, int64_t pitch)
{
    int64_t i = gpu_thread();

    if (i >= a.n)
        return;
    gpu_to(&((T *)a.to)[i], ((const float *)a.from[0])[i]);
    gpu_to(&((T *)a.to)[pitch + i], ((const float *)a.from[1])[i]);
}

extern "C" int cuk_vectors(const struct cuk *l, const struct cuk_vectors *a)
{
    GPU_TYPE(a->dt, T,
             GPU_LAUNCH_FLAT((k_vectors<T>), gpu_blocks(a->n, INT32_MAX), l,
                             *a, (int64_t)cuk_vector(a->n)));
    return GPU_LAST_ERROR();
}

extern "C" int cuk_elem(const struct cuk *l, enum kernel k, const void *args)
{
    switch (k) {
    case KERN_IMAGE:
        image(l, (const struct kern_image *)args);
        break;
    case KERN_CAST:
        cast(l, (const struct kern_cast *)args);
        break;
    case KERN_ADD:
        add(l, (const struct kern_add *)args);
        break;
    case KERN_RELU:
        relu(l, (const struct kern_relu *)args);
        break;
    case KERN_RELU_GRAD:
        relu_grad(l, (const struct kern_relu_grad *)args);
        break;
    default:
        return -1;
    }
    return GPU_LAST_ERROR();
}
