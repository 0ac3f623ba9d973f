# The machines that watch: sanitizers, other compilers, linters, fuzz replay.

check-all: test
.PHONY: check-all
