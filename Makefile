# The one makefile for code. `make` builds all programs and plugins into bin/,
# `make test` runs the tests, `make help` lists the goals and the variables.
#
# Missing libraries are found by tools/deps, which installs what it may; its
# answer is $(OBJ)/config.mk, a file that make itself remakes when tools/deps
# changes. DEPS=no only looks and never installs.

VERSION = 0.1
FLAVOUR = release# release, asan, tsan, fuzz, clang
PREFIX = /usr/local
DESTDIR =
DEPS = yes
CC = gcc

ifeq ($(FLAVOUR),release)
B = bin
else
B = bin/.$(FLAVOUR)
endif
OBJ = bin/.obj/$(FLAVOUR)

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:

# Goals that need nothing of the machine.
ifeq ($(filter clean help gpu-check,$(MAKECMDGOALS)),)
include bin/.obj/config.mk
endif

# V=1 shows whole commands; otherwise one short line each.
Q = $(if $(V),,@)
say = $(if $(V),,@echo '  $(1)')

# ---- flags

CFLAGS = -O2 -g
WARN = -Wall -Wextra -pedantic -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wwrite-strings -Wpointer-arith -Wcast-qual \
	-Wformat=2 -Wundef -Wvla -Wdouble-promotion -Werror
FLAGS_release =
FLAGS_clang =
FLAGS_asan = -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
FLAGS_tsan = -fsanitize=thread
FLAGS_fuzz = -fsanitize=address,undefined,fuzzer-no-link
ifneq ($(filter clang fuzz,$(FLAVOUR)),)
CC = clang
endif
ALL_CFLAGS = -std=c11 -D_POSIX_C_SOURCE=200809L -D_GNU_SOURCE -Ilib -Isrc \
	-fno-common -ffp-contract=off -fno-math-errno -pthread -MMD -MP $(WARN) $(CFLAGS) \
	$(FLAGS_$(FLAVOUR)) \
	-DMILLRACE_VERSION='"$(VERSION)"' -DMILLRACE_CFLAGS='"$(CFLAGS) $(FLAGS_$(FLAVOUR))"'
LDFLAGS = -pthread -Wl,--as-needed $(FLAGS_$(FLAVOUR))

# ---- what is built

LAYERS = util tensor io vision engine nn model train ring eval
# A program is a file of src/ with a main; src/NAME-*.c belong to it.
MAINS = $(patsubst src/%.c,%,$(shell grep -l '^int main' src/*.c))
PLUGINS = $(if $(HAVE_DNNL),engine-cpu.so) $(if $(HAVE_CUDA),engine-cuda.so) \
	$(if $(HAVE_MPI),ring-mpi.so)

# Libraries of ours that each program links, lowest last.
LINK_imgshard = vision io tensor util
LINK_imgsynth = vision io tensor util
LINK_accel-worker = train model nn engine vision io tensor util
LINK_allreduce-ring = ring io tensor util
LINK_accel-launch = ring io tensor util
LINK_ckpt-merge = io tensor util
LINK_evalacc = eval vision io tensor util
LINK_test = ring eval train model nn engine vision io tensor util

LIBS_vision = -ljpeg -lpng
LIBS_io = -lz -lzip -lcrypto
LIBS_ring = $(if $(HAVE_IPSEC_MB),-lIPSec_MB)
LIBS_util = -ljansson -lyaml -lsodium -lm
LIBS_engine = -ldl -lm

all: $(addprefix $(B)/,$(MAINS) $(PLUGINS))
.PHONY: all

# A layer's own files and those of its rooms (engine/ref), but no plugin's.
layer_src = $(sort $(wildcard lib/$(1)/*.c) \
	$(if $(filter engine,$(1)),$(wildcard lib/engine/ref/*.c)))
# X.isa.c is compiled once for each instruction set; one is chosen at start-up.
ISAS = base $(if $(filter x86_64,$(ARCH)),avx2 avx512)
ISA_avx2 = -mavx2 -mfma -mf16c
ISA_avx512 = -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c \
	-mprefer-vector-width=512
obj_of = $(foreach f,$(2),$(if $(filter %.isa.c,$(f)),$(foreach i,$(ISAS),\
	$(OBJ)/$(1)$(f:.isa.c=.isa-$(i).o)),$(OBJ)/$(1)$(f:.c=.o)))

define layer_rule
$(OBJ)/lib$(1).a: $(call obj_of,,$(call layer_src,$(1)))
	@rm -f $$@
	@ar rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rule,$(l))))

# Rewritten only when the flags change, so a changed flag rebuilds.
$(OBJ)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(subst ','"'"',$(ALL_CFLAGS))' > $@.new
	@cmp -s $@.new $@ && rm -f $@.new || mv $@.new $@
FORCE:
.PHONY: FORCE

$(OBJ)/%.o: %.c $(OBJ)/flags
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<
define isa_rule
$(OBJ)/%.isa-$(1).o: %.isa.c $(OBJ)/flags
	@mkdir -p $$(@D)
	$$(call say,CC $$< $(1))
	$$(Q)$(CC) $$(ALL_CFLAGS) -O3 $(ISA_$(1)) -DISA=$(1) -c -o $$@ $$<
$(OBJ)/pic/%.isa-$(1).o: %.isa.c $(OBJ)/flags
	@mkdir -p $$(@D)
	$$(call say,CC $$< $(1) pic)
	$$(Q)$(CC) $$(ALL_CFLAGS) $$(PIC) -O3 $(ISA_$(1)) -DISA=$(1) -c -o $$@ $$<
endef
$(foreach i,$(ISAS),$(eval $(call isa_rule,$(i))))

# $(1): program, $(2): where to, $(3): objects that come before our libraries
define program_rule
$(2)/$(1): $(patsubst %.c,$(OBJ)/%.o,$(sort src/$(1).c $(wildcard src/$(1)-*.c))) \
		$(3) $(foreach l,$(LINK_$(1)),$(OBJ)/lib$(l).a)
	@mkdir -p $$(@D)
	$$(call say,LD $$@)
	$$(Q)$(CC) $(LDFLAGS) -o $$@ $$^ $(foreach l,$(LINK_$(1)),$(LIBS_$(l)))
endef
$(foreach p,$(MAINS),$(eval $(call program_rule,$(p),$(B),)))

# ---- plugins: position independent, one exported symbol

PIC = -fPIC -fvisibility=hidden -fopenmp
CPU_SRC = $(sort $(wildcard lib/engine/cpu/*.c lib/engine/ref/*.c lib/tensor/*.c) \
	lib/util/err.c lib/util/utf8.c lib/util/buf.c lib/util/isa.c)
$(OBJ)/pic/%.o: %.c $(OBJ)/flags
	@mkdir -p $(@D)
	$(call say,CC $< pic)
	$(Q)$(CC) $(ALL_CFLAGS) $(PIC) $(DNNL_CFLAGS) -c -o $@ $<
$(B)/engine-cpu.so: $(call obj_of,pic/,$(CPU_SRC))
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) -shared -fopenmp $(LDFLAGS) -Wl,--no-undefined -o $@ $^ $(DNNL_LIBS) -lm
# Headers of others are looked for last and may warn.
$(OBJ)/pic/lib/ring/mpi/openmpi.o: private DNNL_CFLAGS = $(patsubst -I%,-isystem %,$(MPI_CFLAGS))
$(B)/ring-mpi.so: $(OBJ)/pic/lib/ring/mpi/openmpi.o
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) -shared $(LDFLAGS) -Wl,--no-undefined -o $@ $^ $(MPI_LIBS)

# The cuda engine: kernels by nvcc, one intermediate code for all cards named
# (the first in the list, kept for newer ones), the rest by the C compiler; cuDNN
# is opened at run time. Kernels do not depend on the flavour. Products are rounded
# before they are added, as in all engines; memory is what kernels wait for. What
# they take of a card stays beside each object (tools/registers). CUDA 12 compiles
# them too: nvcc 12.4.131 for 75 80 90, without spills; it knows no 100 and 120, for
# which ptxas 12.9.86 makes code of what it gives. The C files compile with its headers.
CUDA_ARCH = $(CUDA_ARCHS)# of the cards: 90 is compute capability 9.0
empty :=
comma := ,
NVCC = $(CUDA_HOME)/bin/nvcc
NVCC_FLAGS = -O3 -std=c++17 -fmad=false -Ilib -gencode arch=compute_$(firstword $(CUDA_ARCH)),code=[$(subst \
	$(empty) ,$(comma),compute_$(firstword $(CUDA_ARCH)) $(CUDA_ARCH:%=sm_%))] \
	-Xptxas -warn-spills,-Werror,-v -Xcompiler \
	-fPIC,-fvisibility=hidden,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics
CUDA_CU = $(sort $(wildcard lib/engine/cuda/*.cu))
CUDA_C = $(sort $(wildcard lib/engine/cuda/*.c lib/tensor/*.c) \
	lib/util/err.c lib/util/utf8.c lib/util/buf.c lib/util/fdio.c lib/util/work.c)
CUDA_CFLAGS = -isystem $(CUDA_HOME)/include \
	-DCUDA_LIBDIR='"$(CUDA_HOME)/lib64"' -DCUDA_OLDEST=$(firstword $(CUDA_ARCH))
$(OBJ)/lib/engine/cuda/%.o $(OBJ)/pic/lib/engine/cuda/%.o $(OBJ)/t/gpu/%.o \
	$(OBJ)/pic/t/hostgpu/%.o: private ALL_CFLAGS += $(CUDA_CFLAGS)
bin/.obj/cuda/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(NVCC) $(NVCC_FLAGS)' > $@.new
	@cmp -s $@.new $@ && rm -f $@.new || mv $@.new $@
bin/.obj/cuda/%.o: lib/engine/cuda/%.cu bin/.obj/cuda/flags
	$(call say,NVCC $<)
	$(Q)$(NVCC) $(NVCC_FLAGS) -MMD -MP -MF $(@:.o=.d) -c -o $@ $< 2> $(@:.o=.ptxas) || \
	    { cat $(@:.o=.ptxas) >&2; exit 1; }
$(B)/engine-cuda.so: $(CUDA_CU:lib/engine/cuda/%.cu=bin/.obj/cuda/%.o) \
		$(call obj_of,pic/,$(CUDA_C))
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) -shared $(LDFLAGS) -fopenmp -Wl,--no-undefined -o $@ $^ \
	    -L$(CUDA_HOME)/lib64 -lcudart_static -ldl -lrt -lm

# The same engine on the host, for tests: kernels as fibers, a runtime and a
# cuDNN of ours (t/hostgpu).
HOSTGPU = $(B)/t/hostgpu
HOSTGPU_CXX = $(if $(filter clang,$(CC)),clang++,g++) -x c++ -std=c++17 -O1 -g -Ilib \
	-fPIC -fvisibility=hidden -ffp-contract=off -fno-exceptions -fno-rtti \
	-fno-threadsafe-statics -MMD -MP -Wall -Werror $(FLAGS_$(FLAVOUR)) \
	$(if $(filter clang,$(CC)),-Wno-sometimes-uninitialized,-Wno-maybe-uninitialized)
$(OBJ)/hostgpu/%.o: lib/engine/cuda/%.cu t/hostgpu/fibers.h $(OBJ)/flags
	@mkdir -p $(@D)
	$(call say,CXX $< on the host)
	$(Q)$(HOSTGPU_CXX) -include t/hostgpu/fibers.h -c -o $@ $<
$(HOSTGPU)/libhostgpu.so: $(addprefix $(OBJ)/pic/t/hostgpu/,cudart.o cumemory.o cuhost.o cards.o)
	@mkdir -p $(@D)
	$(Q)$(CC) -shared $(LDFLAGS) -Wl,-soname,$(@F) -o $@ $^
$(HOSTGPU)/libcudnn.so.9: $(addprefix $(OBJ)/pic/t/hostgpu/,cudnn.o cudnncompute.o) $(addprefix \
		$(OBJ)/pic/lib/,tensor/dtype.o util/err.o util/utf8.o util/buf.o) $(HOSTGPU)/libhostgpu.so
	$(Q)$(CC) -shared $(LDFLAGS) -Wl,--no-undefined -Wl,-rpath,'$$ORIGIN' -o $@ $^ -lm
$(HOSTGPU)/libnccl.so.2: $(OBJ)/pic/t/hostgpu/nccl.o $(addprefix \
		$(OBJ)/pic/lib/,tensor/dtype.o util/err.o util/utf8.o util/buf.o) $(HOSTGPU)/libhostgpu.so
	$(Q)$(CC) -shared $(LDFLAGS) -Wl,--no-undefined -Wl,-rpath,'$$ORIGIN' -o $@ $^ -lm
$(HOSTGPU)/engine-cuda.so: $(CUDA_CU:lib/engine/cuda/%.cu=$(OBJ)/hostgpu/%.o) \
		$(call obj_of,pic/,$(CUDA_C)) $(HOSTGPU)/libhostgpu.so $(HOSTGPU)/libcudnn.so.9 $(HOSTGPU)/libnccl.so.2
	$(call say,LD $@)
	$(Q)$(CC) -shared $(LDFLAGS) -fopenmp -Wl,--no-undefined -Wl,-rpath,'$$ORIGIN' \
	    -o $@ $(filter-out %/libcudnn.so.9 %/libnccl.so.2,$^) -ldl -lm

# ---- tests

UNIT = $(patsubst t/unit/%.c,$(B)/t/%.t,$(sort $(wildcard t/unit/*.c))) \
	$(if $(HAVE_CUDA),$(patsubst t/gpu/%.c,$(B)/t/%.t,$(sort $(wildcard t/gpu/*.c))))
$(B)/t/%.t: $(OBJ)/t/gpu/%.o $(addprefix $(OBJ)/lib/engine/cuda/,\
		cuconvgraph.o cugraph.o cuplan.o cudnnlib.o culib.o nccllib.o) $(foreach l,$(LINK_test),$(OBJ)/lib$(l).a)
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(foreach l,$(LINK_test),$(LIBS_$(l)))
$(B)/t/%.t: $(OBJ)/t/unit/%.o $(foreach l,$(LINK_test),$(OBJ)/lib$(l).a)
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(foreach l,$(LINK_test),$(LIBS_$(l)))
$(OBJ)/t/%.o: private ALL_CFLAGS += -It
# Programs that obey ACCEL_FAULT (lib/util/fault.h).
FAULTY = accel-worker allreduce-ring accel-launch imgshard ckpt-merge
$(foreach p,$(FAULTY),$(eval $(call \
	program_rule,$(p),$(B)/t/faulty,$(OBJ)/t/lib/fault.o)))
tests: all $(UNIT) $(FAULTY:%=$(B)/t/faulty/%) \
	$(if $(HAVE_CUDA),$(HOSTGPU)/engine-cuda.so)
.PHONY: tests

PROVE = prove $(if $(VERBOSE),-v) -j2
T = $(sort $(wildcard t/*.t))# T=t/20-imgshard.t runs one
test check: tests
	BIN=$(abspath $(B)) TOP=$(CURDIR) $(PROVE) $(UNIT) $(T)
.PHONY: test check
test-slow: tests
	BIN=$(abspath $(B)) TOP=$(CURDIR) $(PROVE) $(sort $(wildcard t/slow/*.t))
# Matrices of faults and real schedulers: half an hour, and a quiet machine.
test-long: tests
	BIN=$(abspath $(B)) TOP=$(CURDIR) $(PROVE) -j1 $(sort $(wildcard t/long/*.t))
test-peer: tests
	BIN=$(abspath $(B)) TOP=$(CURDIR) $(PROVE) $(sort $(wildcard t/peer/*.t))
.PHONY: test-slow test-long test-peer

# Ratios to the peers; images for the second one: PHOTOS=FOLDER
bench: all
	BIN=$(abspath $(B)) bench/train.sh
	BIN=$(abspath $(B)) bench/data.sh $(PHOTOS)
	BIN=$(abspath $(B)) bench/pack.sh
.PHONY: bench

include tools/check.mk
include tools/gpu.mk

# ---- the machine

bin/.obj/config.mk: tools/deps
	@mkdir -p $(@D)
	@DEPS=$(DEPS) tools/deps > $@.new && mv $@.new $@

# ---- installing

MAN = $(sort $(wildcard man/*.[157]))
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/millrace
	install $(addprefix $(B)/,$(MAINS)) $(DESTDIR)$(PREFIX)/bin
	$(if $(PLUGINS),install $(addprefix $(B)/,$(PLUGINS)) $(DESTDIR)$(PREFIX)/lib/millrace)
	for m in $(MAN); do \
	    d=$(DESTDIR)$(PREFIX)/share/man/man$${m##*.}; \
	    install -d $$d && install -m 644 $$m $$d || exit 1; done
	install -d $(DESTDIR)$(PREFIX)/share/millrace
	cp -R configs pipelines $(DESTDIR)$(PREFIX)/share/millrace
	rm -rf $(DESTDIR)$(PREFIX)/share/millrace/pipelines/out
clean:
	rm -rf bin/* bin/.[!.]*
	@git checkout -q -- bin/.gitignore 2>/dev/null || :
help:
	@echo 'goals:'
	@echo '  all (default)   programs and plugins into bin/'
	@echo '  test            build and run every test (T=FILE for one)'
	@echo '  test-slow       longer tests: fuzzing, faults, hosts, launchers'
	@echo '  test-long       the longest: matrices of faults, a real Slurm'
	@echo '  test-peer       live comparison with PyTorch, Pillow (skips without)'
	@echo '  check           the same as test'
	@echo '  tests           build what the tests need'
	@echo '  check-all       lint, clang, replay, sanitize, test; or one of these:'
	@echo '  lint            formatter, linters, manual pages'
	@echo '  clang           everything compiles with clang'
	@echo '  replay          fuzz corpora under the sanitizers'
	@echo '  sanitize        the tests under the sanitizers'
	@echo '  fuzz            one target, longer: NAME=frame SECONDS=60'
	@echo '  format          let the formatter rewrite the C files'
	@echo '  bench           ratios to the peers on this machine (PHOTOS=FOLDER)'
	@echo '  gpu-check       on a machine with a GPU: correctness, speed, PyTorch'
	@echo '                  beside it, in ten minutes (bench/gpu/README.md)'
	@echo '  gpu-kit         what gpu-check needs on a machine that cannot build it'
	@echo '  install         PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo '  clean           remove everything below bin/'
	@echo '  help            this'
	@echo 'variables:'
	@echo '  FLAVOUR=$(FLAVOUR)   release, asan, tsan, clang, fuzz'
	@echo '  CFLAGS=$(CFLAGS)   CC=$(CC)'
	@echo '  DEPS=$(DEPS)   install missing packages (yes) or only look (no)'
	@echo '  GPU_MINUTES=$(GPU_MINUTES)   ENGINE_LEVEL=B or C, for gpu-check'
	@echo 'pipelines: make -C pipelines help'
.PHONY: install clean help

-include $(shell find bin/.obj -name '*.d' 2>/dev/null)
