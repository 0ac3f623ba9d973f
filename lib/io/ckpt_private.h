/*
 * ckpt_private.h - what ckpt.c and ckptread.c share. Nobody else includes this.
 */
#ifndef IO_CKPT_PRIVATE_H
#define IO_CKPT_PRIVATE_H

#include "io/ckpt.h"
#include "util/json.h"

/* CRC-32 of the canonical text of a state.json without its member "crc32". */
void ckpt_state_crc(const json_t *j, char hex[9]);

#endif
