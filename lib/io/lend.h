/*
 * lend.h - batches in memory that both ends of a pipe have: headers alone travel.
 *
 * The writer of a stream of frames makes what it sends in slots of sealed memory.
 * The reader at the other end of that very pipe comes to a socket whose name
 * follows from the pipe, is given the memory and maps it. From then on frames may
 * say which slot their tensors lie in (frame_write_ref), and the reader gives the
 * slot back when it has done with it. With a tee(1) between them, a file, another
 * host or a reader that knows nothing of this nobody comes, and frames carry their
 * data: a stream is whole for whoever does not share the memory. Nothing has a
 * name that could be left behind, and the memory goes with the last of the two.
 *
 * On the socket, all but the descriptor in frames:
 *	writer -> reader	the descriptor; hello role=lend slots bytes
 *	reader -> writer	hello role=borrow; free slot; free slot; ...
 *
 * Writer:
 *	l = lend_open(STDOUT_FILENO, bytes, slots + LEND_MORE);
 *	at = lend_take(l);			for each of its own slots
 *	... make a frame at `at` ...
 *	if (lend_offer(l, at, &slot)) {
 *		frame_write_ref(&w, &slot, ...);
 *		at = lend_take(l);
 *	} else
 *		frame_write(&w, ...);
 *	lend_close(l);
 *
 * Reader, after the first frame of the stream:
 *	b = borrow_open(STDIN_FILENO);
 *	while (frame_next(&s, &f) > 0) {
 *		r = borrow_frame(b, &f, &loan);
 *		if (r > 0) ... loan.f's tensors at loan.base + begin ...
 *		borrow_return(b, loan.slot);
 *	}
 *	borrow_close(b);
 */
#ifndef IO_LEND_H
#define IO_LEND_H

#include "io/frame.h"
#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Slots beyond those that the writer works in: for a reader that reads ahead. */
#define LEND_MORE 4
#define LEND_SLOTS 65536 /* at most */

struct lender;
/*
 * n slots of at least so many bytes for the reader of fd, or NULL: fd is no pipe,
 * it is not wanted (ctl.h), or there is no memory; note() says so.
 */
struct lender *lend_open(int fd, size_t bytes, int n);
/* A slot that nobody has; waits for the reader. NULL: ERR_DATA, it does not keep
 * to the rules. */
void *lend_take(struct lender *l) MUST_CHECK;
/* Does the reader take the slot at p? It has it then, and *s says which one. */
bool lend_offer(struct lender *l, const void *p, struct frame_slot *s);
/* The reader keeps what it has. NULL allowed. */
void lend_close(struct lender *l);

struct borrower;
/* The memory of the writer of fd, or NULL: there is none to be had. */
struct borrower *borrow_open(int fd);
/* All of it. NULL b: none. */
void *borrow_memory(const struct borrower *b, size_t *bytes);

struct loan {
    struct frame f; /* release it before the frame it was made of */
    const char *base;
    int slot;
};
/* frame_ref, and the slot is not one that is held already. b may be NULL. */
int borrow_frame(struct borrower *b, const struct frame *f,
                 struct loan *loan) MUST_CHECK;
/* A slot is not read any more. One thread at a time. */
void borrow_return(struct borrower *b, int slot);
void borrow_close(struct borrower *b); /* NULL allowed */

#endif
