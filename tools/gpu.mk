# A machine with a GPU: `make gpu-check` there, `make gpu-kit` before.
#
# gpu-check needs programs and the plugin. Where they can be built it builds them;
# a machine with nothing but a driver, cuDNN and PyTorch takes bin/gpu-kit, which
# gpu-kit makes elsewhere: stripped, with every library beside that is not the C
# library's own. GPU_FAKE=1 goes through all checks without a GPU, on the host
# (t/hostgpu): it finds mistakes in the checks, not in the engine.

GPU_PROGRAMS = accel-worker imgshard imgsynth ckpt-merge engine-cuda.so \
	gpu/layers gpu/card t/30-ops.t t/43-golden-resnet.t t/54-late.t
gpu-programs: $(GPU_PROGRAMS:%=$(B)/%)
.PHONY: gpu-programs gpu-kit gpu-check
$(B)/gpu/layers: $(addprefix $(OBJ)/bench/gpu/,layers.o kernels.o) \
		$(foreach l,$(LINK_test),$(OBJ)/lib$(l).a)
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(foreach l,$(LINK_test),$(LIBS_$(l)))

$(OBJ)/bench/gpu/card.o: private ALL_CFLAGS += $(CUDA_CFLAGS)
$(B)/gpu/card: $(OBJ)/bench/gpu/card.o \
		$(addprefix $(OBJ)/lib/engine/cuda/,cudnnlib.o culib.o) $(OBJ)/libutil.a
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_util) -ldl

KIT = bin/gpu-kit
# An rpath of the old kind serves libraries of libraries too.
KIT_LDFLAGS = -pthread -s -Wl,--as-needed -Wl,--disable-new-dtags \
	'-Wl,-rpath,$$$$ORIGIN/lib:$$$$ORIGIN/../lib'
gpu-kit:
	rm -rf $(KIT)
	$(MAKE) B=$(KIT) LDFLAGS="$(KIT_LDFLAGS)" gpu-programs
	bench/gpu/kit.sh $(KIT)

GPU_MINUTES = $(if $(GPU_FAKE),,10)
ENGINE_LEVEL =# B or C; empty: the richest forms there are
gpu-check:
	@GPU_MINUTES='$(GPU_MINUTES)' GPU_FAKE='$(GPU_FAKE)' \
	    ENGINE_LEVEL='$(ENGINE_LEVEL)' MAKE='$(MAKE)' bench/gpu/check.sh
