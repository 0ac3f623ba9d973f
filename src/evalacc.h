/* evalacc.h - the commands of evalacc. */
#ifndef EVALACC_H
#define EVALACC_H

#include "util/opt.h"

extern struct opt evalacc_top_opts[];
int evalacc_top(const struct command *c, int argc, char **argv);

#endif
