# A classifier: IMAGENET=DIR is a folder with train/CLASS/*.JPEG and
# val/CLASS/*.JPEG (validation/ is accepted too).

IMAGENET =

# Made-up data where there is none, and it is said to be made up.
ifeq ($(IMAGENET),)
CONFIG := $(or $(CONFIG),../configs/resnet18-demo.yaml)
IMAGES = $(O)/made-up
MADE_UP = $(IMAGES)/README
else
CONFIG := $(or $(CONFIG),../configs/resnet50.yaml)
IMAGES = $(abspath $(IMAGENET))
MADE_UP =
endif
# What weights are to have; made-up data have the ten of imgsynth.
CLASSES = MODEL.CLASSES $(if $(MADE_UP),10,$$(find -L $(IMAGES)/train -mindepth 1 -maxdepth 1 -type d -name '[!.]*' | wc -l))
VAL = $(or $(wildcard $(IMAGES)/val),$(wildcard $(IMAGES)/validation),$(IMAGES)/val)

imagenet: imagenet-score
imagenet-pack: VAL_THERE $(O)/shards/train.json $(O)/shards/val.json
imagenet-look: $(O)/stats.svg $(O)/sheet.jpg
imagenet-merge: $(O)/model.safetensors
imagenet-predict: VAL_THERE $(O)/predictions.sft
imagenet-score: VAL_THERE $(O)/score.json
	@$(if $(MADE_UP),echo 'made-up data (imgsynth): this score says that the pipeline works and nothing more' >&2)
	@cat $(O)/score.json
	$(if $(REQUIRE),$(BIN)/evalacc top --require $(REQUIRE) $(O)/predictions.sft >/dev/null)

# Predictions come of as many images at once as a rank trains on, not of the batch of
# all ranks.
EACH = SOLVER.ACCUM 0 SOLVER.MICRO 0 SOLVER.BATCH $(if $(FITTED),$$(cat $(FITTED)),$$(awk \
	'{ v[$$1] = $$2 } END { m = v["SOLVER.MICRO"]; a = v["SOLVER.ACCUM"]; print m ? m : v["SOLVER.BATCH"] / $(NGPU) / (a ? a : 1) }' $(O)/settings))
PREDICT = $(call FEED,$(O)/shards/val.json) --eval $(SETTINGS) $(EACH) | $(BIN)/accel-worker predict -c $(abspath $(CONFIG)) -e $(ENGINE) -w $(1) $(SETTINGS)

# Every checkpoint that is there is scored; the best one so far stays in ckpt/best.
# A run that goes on may remove one meanwhile.
imagenet-best: $(O)/shards/val.json $(O)/settings $(FITTED) | programs
	for step in $(O)/ckpt/step-*; do [ -d $$step ] || continue; \
	$(call PREDICT,$$step) | $(BIN)/evalacc top - | $(BIN)/ckpt-merge best $$step || { s=$$?; [ ! -d $$step ] || exit $$s; }; done
	$(BIN)/ckpt-merge -o $(O)/best.safetensors $(O)/ckpt/best
.PHONY: imagenet imagenet-pack imagenet-look imagenet-train imagenet-merge \
	imagenet-predict imagenet-score imagenet-best VAL_THERE

# Told before hours of packing and training.
VAL_THERE:
	@$(if $(MADE_UP),:,[ -e $(O)/shards/val.json ] || [ -e $(VAL) ] || { echo '$(VAL): not there' >&2; exit 66; })

# What the shards were made of: others are not taken for them.
$(O)/shards/source: FORCE | recipe
	@mkdir -p $(@D)
	@[ -e $@ ] || echo '$(IMAGES)' > $@
	@[ "$$(cat $@)" = '$(IMAGES)' ] || { echo "$(@D): made of $$(cat $@), not of $(IMAGES): take another OUT, or remove that folder" >&2; exit 78; }

$(O)/made-up/README: | programs $(O)/shards/source
	@echo 'no IMAGENET=DIR given: drawing made-up images into $(@D)' >&2
	@rm -rf $(@D)
	@mkdir -p $(O)
	$(BIN)/imgsynth imagenet $(@D)

$(O)/shards/train.json: $(MADE_UP) | programs $(O)/shards/source
	$(BIN)/imgshard pack -f --split train -o $(@D) $(PACK) $(IMAGES)/train
$(O)/shards/val.json: $(MADE_UP) $(O)/shards/train.json | programs $(O)/shards/source
	$(BIN)/imgshard pack -f --split val --classes $(O)/shards/train.json -o $(@D) $(PACK) $(VAL)

$(O)/stats.svg: $(O)/shards/train.json
	$(BIN)/imgshard stats --svg $@ $<
$(O)/sheet.jpg: $(O)/shards/train.json $(O)/settings $(FITTED)
	$(BIN)/imgshard sheet -c $(abspath $(CONFIG)) -o $@ $< $(SETTINGS)

imagenet-train: $(O)/shards/train.json $(O)/settings $(FITTED) | programs
	$(DEVICES)$(call $(if $(filter 1,$(NGPU)),RANK1,RANKN),$(O)/shards/train.json)

$(O)/model.safetensors: $(O)/shards/train.json $(O)/settings $(FITTED) | programs
	$(DEVICES)$(call $(if $(filter 1,$(NGPU)),RANK1,RANKN),$(O)/shards/train.json)
	$(BIN)/ckpt-merge $(AVERAGE) -o $@ $(O)

$(O)/predictions.sft: $(O)/model.safetensors $(O)/shards/val.json
	$(call PREDICT,$<) > $@.tmp
	mv $@.tmp $@

$(O)/score.json: $(O)/predictions.sft
	$(BIN)/evalacc top $< > $@.tmp
	mv $@.tmp $@
