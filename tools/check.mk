# The machines that watch: other compilers, sanitizers, linters, fuzz replay.
# `make check-all` runs them in this order and the tests last.

check-all:
	@tools/deps test >/dev/null
	$(MAKE) lint
	$(MAKE) clang
	$(MAKE) replay
	$(MAKE) sanitize
	$(MAKE) test
.PHONY: check-all lint clang replay sanitize format

C_FILES = $(shell git ls-files '*.c' '*.h' 2>/dev/null)
SH_FILES = $(shell git ls-files '*.sh' '*.t' tools/deps .ci/run 2>/dev/null)
TIDY_FILES = $(filter lib/%.c src/%.c,$(filter-out %.isa.c \
	$(if $(HAVE_MPI),,lib/ring/mpi/%) $(if $(HAVE_CUDA),,lib/engine/cuda/%),\
	$(C_FILES)))

lint: lint-format lint-sh lint-man lint-cppcheck lint-tidy
.PHONY: lint lint-format lint-sh lint-man lint-cppcheck lint-tidy
lint-format:
	clang-format --dry-run -Werror $(C_FILES)
lint-sh:
	shellcheck -x -s sh $(SH_FILES)
lint-man:
	mandoc -T lint -W warning $(MAN)
lint-cppcheck:
	cppcheck -q -j2 --std=c11 --inline-suppr --error-exitcode=1 \
	    --enable=warning,portability --library=tools/cppcheck.cfg \
	    -Ilib -Isrc $(filter lib/%.c src/%.c,$(C_FILES))
lint-tidy:
	printf '%s\n' $(TIDY_FILES) | xargs -P2 -n8 sh -c 'clang-tidy --quiet "$$@" \
	    -- -std=c11 -D_POSIX_C_SOURCE=200809L -D_GNU_SOURCE -Ilib -Isrc \
	    $(patsubst -I%,-isystem %,$(MPI_CFLAGS)) \
	    $(if $(HAVE_CUDA),-isystem $(CUDA_HOME)/include) -DMILLRACE_VERSION=\"0\"' tidy
format:
	clang-format -i $(C_FILES)

# Everything compiles with clang too.
clang:
	$(MAKE) FLAVOUR=clang all tests

# The unit and shell tests with address and undefined-behaviour checks, and what
# has threads with the thread checker. Leaks are looked for in the unit tests only:
# a program that fails leaves its memory to the system; the leak checker's own
# tracer dies now and then where an engine plugin has been loaded (3x, 4x). Programs
# under the thread checker: OpenMP's own waiting is not seen by it, so one thread each,
# and a program that has its answer ends with threads running.
UNTRACED = $(patsubst t/unit/%.c,%,$(sort $(wildcard t/unit/[34]?-*.c)))
TSAN = 12-work 28-batch 60-shm 61-comm 61-serve 63-login 64-lanes 66-lend
TSAN_SH = 24-imgshard 28-feed 29-lend 56-ranks
sanitize:
	$(MAKE) FLAVOUR=asan tests
	BIN=$(CURDIR)/bin/.asan TOP=$(CURDIR) SANITIZED=asan prove -j2 \
	    $(filter-out $(UNTRACED:%=bin/.asan/t/%.t),$(patsubst \
	    t/unit/%.c,bin/.asan/t/%.t,$(sort $(wildcard t/unit/*.c))))
	BIN=$(CURDIR)/bin/.asan TOP=$(CURDIR) SANITIZED=asan \
	    ASAN_OPTIONS=detect_leaks=0 prove -j2 \
	    $(UNTRACED:%=bin/.asan/t/%.t) $(sort $(wildcard t/*.t))
	$(MAKE) FLAVOUR=tsan tests
	BIN=$(CURDIR)/bin/.tsan TOP=$(CURDIR) SANITIZED=tsan prove $(TSAN:%=bin/.tsan/t/%.t)
	BIN=$(CURDIR)/bin/.tsan TOP=$(CURDIR) SANITIZED=tsan \
	    TSAN_OPTIONS='ignore_noninstrumented_modules=1 report_thread_leaks=0' \
	    prove -j2 $(TSAN_SH:%=t/%.t)

# Every file of the fuzz corpora through its target, under the sanitizers. With
# clang's libFuzzer: make fuzz NAME=frame SECONDS=60
FUZZ = $(sort $(filter-out driver,$(patsubst t/fuzz/%.c,%,$(wildcard t/fuzz/*.c))))
replay:
	$(MAKE) FLAVOUR=asan $(FUZZ:%=bin/.asan/fuzz/%)
	for f in $(FUZZ); do bin/.asan/fuzz/$$f t/fuzz/corpus/$$f || exit 1; done
$(B)/fuzz/%: $(OBJ)/t/fuzz/%.o $(OBJ)/t/fuzz/driver.o \
		$(foreach l,$(LINK_test),$(OBJ)/lib$(l).a)
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(foreach l,$(LINK_test),$(LIBS_$(l)))
SECONDS = 60
fuzz:
	$(MAKE) FLAVOUR=fuzz bin/.fuzz/libfuzzer/$(NAME)
	bin/.fuzz/libfuzzer/$(NAME) -max_total_time=$(SECONDS) t/fuzz/corpus/$(NAME)
$(B)/libfuzzer/%: $(OBJ)/t/fuzz/%.o $(foreach l,$(LINK_test),$(OBJ)/lib$(l).a)
	@mkdir -p $(@D)
	$(CC) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(foreach l,$(LINK_test),$(LIBS_$(l)))
.PHONY: fuzz
