# capfind: build, test, check. Everything needs only Go (and the network once,
# for the modules); .ci/run installs what the slower checks want beyond that.

# One machine's build equals another's: no cgo, no paths. The version comes from
# the git revision; -buildvcs is given here because GOFLAGS may switch it off.
BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=auto -ldflags "-s -w"
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: all build demo test race check bench bench-search fuzz cross clean engines engines-short engines-ollama engines-vllm engines-compare

all: build

build: ## the program, static, in bin/
	$(BUILD) -o bin/capfind ./cmd/capfind

demo: build ## sweep a simulated server that has a real knee, and write the report
	bin/capfind sweep examples/simulator-demo.yaml

test: ## every test that needs only Go
	go test ./...

race: ## the same under the race detector
	go test -race -timeout 30m ./...

check: ## formatting, vet, staticcheck
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted: $$unformatted"; exit 1; fi
	go vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...

bench: build ## cost and exactness of the client beside bare readers, tcpdump and other tools' clients; what a report of a million requests takes
	go test -run '^$$' -bench 'Stream|Capture|Python' -benchtime 1x -timeout 30m ./loadgen
	go test -run '^$$' -bench . ./loadgen/api
	go test -run '^$$' -bench Intake -benchtime 1x ./internal/fleet
	go test -run '^$$' -bench Report -benchtime 1x ./cmd/capfind
	go test -run '^$$' -bench GateWithViewers -benchtime 1x ./internal/live
	@if command -v python3 >/dev/null; then $(ENGINES) clients; else echo "other tools' clients: there is no Python here"; fi

bench-search: ## how exact the search is: a thousand drawn sweeps a server, then a few dozen with the real client under fake time
	go test -run '^$$' -bench "Decisions|Efforts|Spreads|Search" -benchtime 1x -timeout 2h ./sweep/control

# Against real engines. Python 3.9 or newer is wanted, and a package registry the
# first time; everything is installed under ~/.cache/capfind-engines.
ENGINES := python3 tools/engines/engines.py

engines: build ## llama.cpp: the limits by brute force, what capfind says, is that right? 30 min
	$(ENGINES) llamacpp --docs docs/engines.md

engines-short: build ## the same in 3 minutes, for CI
	$(ENGINES) llamacpp --short

engines-ollama: build ## Ollama, built from its Go module: ten minutes more the first time, and g++ is wanted
	$(ENGINES) ollama --docs docs/engines.md

engines-vllm: build ## vLLM on the CPU: 10 GB are installed; an hour
	$(ENGINES) vllm --docs docs/engines.md

engines-compare: build ## other tools on the same vLLM; 8 GB more; half an hour
	$(ENGINES) compare --docs docs/engines.md

# A number of inputs and not a time: before Go 1.27 a run that is ended by its time now and
# then fails with "context deadline exceeded" (golang/go#75804).
fuzz: ## a short run of every fuzz target
	@for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg 2>/dev/null | grep '^Fuzz'); do \
	    echo "$$pkg $$target"; \
	    go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(or $(FUZZTIME),50000x) -fuzzminimizetime 20x $$pkg || exit 1; \
	  done; done

cross: ## does it compile everywhere? (make dist packs releases)
	@for p in $(PLATFORMS); do \
	  echo "$$p"; GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 go build -trimpath -o /dev/null ./cmd/capfind || exit 1; \
	done

clean:
	rm -rf bin dist

include packaging/packaging.mk
