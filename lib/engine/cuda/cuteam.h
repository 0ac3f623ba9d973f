/*
 * cuteam.h - this device and those of the other ranks, through NCCL.
 *
 * Sums run on a stream of their own: an event lets them begin when the gradients
 * are there, another lets the queue go on when they are done. A communicator does
 * not block, so every wait of the host, for a call of NCCL or for the device, asks
 * cuteam_alive; once that says no the communicator has been aborted and the team
 * is broken for good.
 *
 * What is summed lies in memory of NCCL's own where there is a team to be and the
 * library has such: all ranks register it as they join, and it travels without
 * being copied where the machine can do that. Otherwise it is plain memory.
 */
#ifndef ENGINE_CUDA_CUTEAM_H
#define ENGINE_CUDA_CUTEAM_H

#include "engine/cuda/cuda.h"

/* Entries of the table. */
int cuda_team_version(void *dev);
int cuda_team_id(void *dev, void *id);
int cuda_team_join(void *dev, const struct engine_team *t);
int cuda_team_start(void *dev, enum team_op op, float *p, int64_t n,
                    const int64_t *end);
int cuda_team_wait(void *dev);
void cuda_team_leave(void *dev);
size_t cuda_own(void *dev);
int cuda_alloc_sums(void *dev, size_t bytes, void **p);
/* Was p of that, and not of the runtime? Then it is free now, or, where a rank was
 * lost, left to the end of the process. */
bool cuda_free_sums(struct cuda *c, void *p);

/* For the other files. begun: clock_ms() of the beginning of a wait. */
int cuteam_alive(struct cuteam *t, int64_t begun) MUST_CHECK;
/* Until the sums that were begun are done, or the team is broken. The error that is
 * set stays. */
void cuteam_settle(struct cuda *c);

#endif
