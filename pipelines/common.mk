# What all pipelines share: variables, programs, how a rank is started.

NGPU = 1#            ranks on this host; CPU ranks where there is no GPU
GPUS =#              devices to use, such as 0,2
NAME = imagenet#     of the run
OUT = $(if $(SOURCE),$(CURDIR),$(PWD))/out/$(NAME)
CONFIG =#            recipe; chosen by the data where it is empty
MODEL =#             and so on: empty means what the recipe says
WEIGHTS =
SIZE =
EPOCHS =
BATCH =
MICRO =
ACCUM =
LR =
PREC =
SEED =
THREADS =#           decoding threads of a rank
ENGINE = auto
SAVE_EVERY = 1ep
KEEP = 2
RETRY = 1#           how often a failed run is started again from its checkpoint
SET =#               more KEY VALUE pairs, such as MODEL.WIDTH 32
PACK =#              more options of imgshard pack, such as --on-bad drop
WORKER =#            more options of accel-worker train, such as --recompute
REQUIRE =#           such as top1=0.75: the score must reach it

# In the source tree the programs are built first; installed, they are there.
SOURCE := $(wildcard ../Makefile)
BIN = $(abspath $(if $(SOURCE),../bin,../../../bin))
O = $(abspath $(OUT))

# An empty OUT would be the root. Make cannot have blanks in names of files, and
# some characters mean something to it or to the shell.
open = (
close = )
special = $(open) $(close) ' " ` ; & < > | * ? [ ] { } ~ \ $$
$(foreach v,NAME OUT NGPU ENGINE SAVE_EVERY KEEP RETRY,$(if $(strip $($(v))),,$(error $(v)="": empty)))
$(foreach v,OUT IMAGENET CONFIG WEIGHTS,$(if $(word 2,$($(v))),\
    $(error $(v)="$($(v))": a path with blanks: make a link to it))\
    $(foreach c,$(special) : %,$(if $(findstring $(c),$($(v))),\
    $(error $(v)="$($(v))": a path with $(c): make a link to it))))

# MICRO=auto is looked up once, before the first step, and kept in a file.
FITTED = $(if $(filter auto,$(MICRO)),$(O)/micro)
cut = $(if $(FITTED),SOLVER.MICRO $$(cat $(FITTED)),$(call set,MICRO,SOLVER.MICRO))

# KEY VALUE pairs, for imgshard and accel-worker alike.
set = $(if $($(1)),$(2) $($(1)))
SETTINGS = $(strip $(call set,MODEL,MODEL.NAME) $(call set,SIZE,INPUT.SIZE) \
	$(call set,EPOCHS,SOLVER.EPOCHS) $(call set,BATCH,SOLVER.BATCH) \
	$(cut) $(call set,ACCUM,SOLVER.ACCUM) \
	$(call set,LR,SOLVER.BASE_LR) $(call set,PREC,SOLVER.PRECISION) \
	$(call set,SEED,SEED) $(SET))
UNFITTED = $(filter-out $(if $(FITTED),$(cut)),$(SETTINGS))

# One rank: batches through a pipe into the worker. $(1) the manifest.
FEED = $(BIN)/imgshard feed $(1) -c $(abspath $(CONFIG)) \
	$(if $(THREADS),--threads $(THREADS))
TRAIN = $(BIN)/accel-worker train -c $(abspath $(CONFIG)) -o $(O) -e $(ENGINE) \
	--save-every $(SAVE_EVERY) --keep $(KEEP) \
	$(if $(WEIGHTS),-w $(abspath $(WEIGHTS))) $(WORKER)
RANK1 = $(call FEED,$(1)) --train --from $(O)/ckpt $(SETTINGS) | $(TRAIN) $(SETTINGS)
RANKN = $(BIN)/accel-launch -n $(NGPU) --retries $(RETRY) --logdir $(O)/log -- \
	sh -c '$(call FEED,$(1)) --train --from $(O)/ckpt $(SETTINGS) | $(BIN)/allreduce-ring -- $(TRAIN) $(SETTINGS)'
# Is there such an engine, does it have the precision, do the weights fit?
SERVES = $(BIN)/accel-worker describe -q --eval -c $(abspath $(CONFIG)) -e $(ENGINE) $(UNFITTED) \
	$(if $(WEIGHTS),-w $(abspath $(WEIGHTS)) $(CLASSES))
# Where the recipe keeps an average of the weights, that is the model.
AVERAGE = $$($(BIN)/accel-worker train -c $(abspath $(CONFIG)) $(SETTINGS) --print-config | sed -n 's/^SOLVER.EMA	true.*/--ema/p')
DEVICES = $(if $(GPUS),CUDA_VISIBLE_DEVICES=$(GPUS) )

$(O)/micro: $(O)/settings | programs
	$(BIN)/accel-worker fit -c $(abspath $(CONFIG)) -e $(ENGINE) --world $(NGPU) --here $(NGPU) $(filter --recompute,$(WORKER)) $(UNFITTED) > $@.tmp
	mv $@.tmp $@

# What no rank would take is refused once, before anything is made. (A data set of
# one sample has no whole batch.)
recipe: | programs
	@$(if $(WEIGHTS),[ -r $(abspath $(WEIGHTS)) ] || { echo 'WEIGHTS="$(WEIGHTS)": not there' >&2; exit 66; })
	@$(TRAIN) --print-lr --samples 1 --world $(NGPU) $(UNFITTED) SOLVER.TAIL wrap > /dev/null
	@[ -e $(O)/shards/train.json ] || $(DEVICES)$(SERVES) > /dev/null
	@$(if $(THREADS),$(BIN)/imgshard feed --threads $(THREADS) --print-config > /dev/null)
	@$(BIN)/accel-launch -n $(NGPU) --retries $(RETRY) --print-config > /dev/null
	@$(if $(REQUIRE),said=$$($(BIN)/evalacc top --require $(REQUIRE) /dev/null 2>&1) || [ $$? -ne 64 ] || { echo "$$said" >&2; exit 64; })

# Held in a variable, so that `make -n` shows this line and not what is below it.
BUILD = $(if $(SOURCE),$(MAKE) -s -C $(abspath ..) all,:)
programs:
	@$(BUILD)
clean: # what a run leaves, and nothing else that may lie in OUT
	rm -rf $(addprefix $(O)/,made-up shards ckpt log settings micro metrics.jsonl \
	    run.json model.safetensors best.safetensors predictions.sft score.json stats.svg sheet.jpg \
	    settings.tmp settings.new micro.tmp predictions.sft.tmp score.json.tmp \
	    samples-*.tsv profile-*.json .*.[0-9]*.tmp)
	@rmdir $(O) 2>/dev/null || :
.PHONY: programs recipe clean FORCE
FORCE:

# The settings of a run and what its recipe says, rewritten only when they change,
# so that a stage made with other settings is made again.
$(O)/settings: FORCE | recipe
	@mkdir -p $(@D)
	@$(TRAIN) $(UNFITTED) --print-config > $@.tmp
	@{ echo 'CONFIG=$(CONFIG) WEIGHTS=$(WEIGHTS) $(SETTINGS)' && \
	    cut -f 1,2 $@.tmp | grep -v ^--; } > $@.new
	@cmp -s $@.new $@ || mv $@.new $@
	@rm -f $@.new $@.tmp
