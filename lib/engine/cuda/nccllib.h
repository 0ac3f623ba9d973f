/*
 * nccllib.h - NCCL, opened by the first team (218 MB that one rank has no use
 * for). Without its header at build time there is none.
 *
 *	struct nccl lib;
 *	if (nccl_open(&lib) < 0) return -1;
 *	if (nccl_check(&lib, lib.GetUniqueId(&id), "identifier") < 0) ...
 */
#ifndef ENGINE_CUDA_NCCLLIB_H
#define ENGINE_CUDA_NCCLLIB_H

#include "util/err.h"

#if defined __has_include
#    if __has_include(<nccl.h>)
#        define HAVE_NCCL 1
#        include <nccl.h>
#    endif
#endif

#ifdef HAVE_NCCL

/* Communicators that do not block, and bf16. */
#    define NCCL_OLDEST 21800

/* clang-format off */
#    define NCCL_CALLS(X)                                                     \
        X(GetVersion) X(GetErrorString) X(GetLastError) X(GetUniqueId)        \
        X(CommInitRankConfig) X(CommGetAsyncError) X(CommFinalize)            \
        X(CommDestroy) X(CommAbort) X(AllReduce) X(Broadcast)                 \
        X(GroupStart) X(GroupEnd)
/* From 2.19 on; absent is NULL. */
#    define NCCL_MORE(X)                                                      \
        X(MemAlloc) X(MemFree) X(CommRegister) X(CommDeregister)
/* clang-format on */

struct nccl {
    int version; /* 22809 */
#    define X(call) __typeof__(nccl##call) *call;
    NCCL_CALLS(X)
    NCCL_MORE(X)
#    undef X
};

/* ERR_UNAVAILABLE: not there, or too old. */
int nccl_open(struct nccl *n) MUST_CHECK;
/*
 * Before anything else is asked of it: what it has to say (NCCL_DEBUG: WARN) comes
 * to stderr, unless the user has named a file (NCCL_DEBUG_FILE). By itself it
 * writes to stdout, and opens the file that it is given as a new one: one that
 * stderr goes to would lose what is there. So it gets a pipe. Source: NVIDIA/nccl
 * src/debug.cc.
 */
void nccl_speak(void);
/* 0, also of what is still in progress; or -1 and "NCCL: what: the library's
 * words". A rank or the network that was lost is ERR_PEER. */
int nccl_check(const struct nccl *n, ncclResult_t r,
               const char *what) MUST_CHECK;

#endif
#endif
