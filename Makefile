# The fast path of cpu/ needs this experiment; without it (GOEXPERIMENT= make ...) its plain Go twin is built.
export GOEXPERIMENT ?= simd

GOLANGCI_VERSION := v2.15.0
GOLANGCI := .cache/bin/golangci-lint-$(GOLANGCI_VERSION)
GPUTRAIN := bin/gputrain
DEMO := out/demo
SAMPLE := testdata/goemotions
FUZZ_SECONDS ?= 60

.PHONY: build test demo lint bench fuzz-smoke clean

build:
	go build -o $(GPUTRAIN) ./cmd/gputrain

test:
	go test ./...

# A first look: learns to name the emotions in English sentences, from a sample of the GoEmotions data.
demo: build
	rm -rf $(DEMO)
	$(GPUTRAIN) inspect --data $(SAMPLE)/train.jsonl.gz
	$(GPUTRAIN) train --train $(SAMPLE)/train.jsonl.gz --model $(DEMO)/model
	$(GPUTRAIN) eval --model $(DEMO)/model --test $(SAMPLE)/test.jsonl.gz
	printf '%s\n' \
		'{"text":"Thank you so much, you made my day!"}' \
		'{"text":"I am sorry for your loss."}' \
		'{"text":"Why would anybody do that?"}' | \
		$(GPUTRAIN) predict --model $(DEMO)/model --input - --top-k 5
	@echo "The model is in $(DEMO)/model."

lint: $(GOLANGCI)
	$(GOLANGCI) run ./...
	scripts/check-imports.sh

# Compiled here rather than downloaded, so that it knows the Go version in use.
$(GOLANGCI):
	GOBIN=$(CURDIR)/.cache/bin GOEXPERIMENT= go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv .cache/bin/golangci-lint $@

bench: build
	$(GPUTRAIN) bench

# Every fuzz target for its share of FUZZ_SECONDS.
fuzz-smoke:
	scripts/fuzz.sh $(FUZZ_SECONDS)

clean:
	rm -rf bin out .cache
