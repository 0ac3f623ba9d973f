/*
 * lend_private.h - what the two ends of lent memory agree on: lend.c writes,
 * borrow.c reads.
 */
#ifndef IO_LEND_PRIVATE_H
#define IO_LEND_PRIVATE_H

#define LEND_WAIT_MS 5000 /* for the other end of the socket to answer */

/* The socket of the pipe fd, or NULL: it is none. The caller frees. */
char *lend_address(int fd);

#endif
