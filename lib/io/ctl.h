/*
 * ctl.h - what a worker and its allreduce-ring say to each other.
 *
 * allreduce-ring runs the worker with descriptor 6 (read) and 7 (write)
 * connected to itself; both directions are streams of frames (frame.h). The
 * worker asks, the ring answers in the same order; an "error" frame may come at
 * any time and ends the run. Both sides run a reader and a writer (or poll), so
 * that neither stops reading because its own write blocks.
 *
 *   worker -> ring                              ring -> worker
 *   hello  role=worker proto=1.0 layout=HEX     hello role=ring rank share world
 *          recipe=HEX samples=N slots=0|1             (sent when all ranks have
 *                                                      joined and agree)
 *   grad   step bucket; g F32 [numel]           sum   step bucket finite=0|1; g
 *   scatter step bucket; g F32 [numel]          sum   ...; g: own slice of it
 *   gather step bucket n; g: own slice          sum   ...; g of all slices
 *   reduce op=sum|min|max; v F64 [k]            reduced; v F64 [k]
 *   bcast  root name; tensors (root only)       bcast name; tensors
 *   barrier name                                barrier name
 *   end                                         end
 *
 * A worker that says slots=1 can take gradients in shared memory (slots.h). If the
 * ring has some, its hello says where: slots (a descriptor that the worker has
 * inherited), slots.arena, slots.sums and slots.room (bytes). From then on a grad
 * may have the metadata n (elements) and at (byte offset in the arena) in place
 * of the tensor; its sum has at, too, and lies there in the sums. So may a scatter
 * and a gather: at and n are those of the whole bucket.
 *
 * Every rank sends the same requests in the same order; the ring checks kind,
 * name and sizes against each other and fails the run (ERR_CONFIG) naming the
 * two ranks when they differ. hello: layout and recipe must be equal on all
 * ranks, samples too (a rank that resumed elsewhere is refused).
 * Sums are fp32, added in rank order 0..W-1, every rank gets the same bits.
 *
 * Slices: a bucket of n elements is cut into one slice for each rank by
 * ctl_slice; rank r has that of number `share` of its hello. Ranks of one host
 * have neighbouring shares. A slice of a scatter has the bits that a grad would
 * have given; a gather moves bits.
 */
#ifndef IO_CTL_H
#define IO_CTL_H

#include <stdint.h>

#define CTL_FD_IN 6
#define CTL_FD_OUT 7
#define CTL_FD_SLOTS 8 /* of the worker, where the ring shares memory */
#define CTL_SLOTS_ENV "MILLRACE_SLOTS" /* off: by neither end, for tests */
#define CTL_PROTO "1.0"

#define CTL_HELLO "hello"
#define CTL_GRAD "grad"
#define CTL_SCATTER "scatter"
#define CTL_GATHER "gather"
#define CTL_SUM "sum"
#define CTL_REDUCE "reduce"
#define CTL_REDUCED "reduced"
#define CTL_BCAST "bcast"
#define CTL_BARRIER "barrier"

/* Part i of n elements cut into parts, whole blocks of 16: [*first, *end). */
void ctl_slice(int64_t n, int i, int parts, int64_t *first, int64_t *end);

#endif
