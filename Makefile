# Every target says what it does: `make help`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BINARY  := bin/velocity
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
# The commit's date and not the clock's: the same commit builds the same binary.
DATE    := $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)

# Development tools are pinned here and built into .tools/bin, apart from the module's own dependencies.
TOOLS         := .tools/bin
GOLANGCI_LINT := $(TOOLS)/golangci-lint-v2.15.0
GOFUMPT       := $(TOOLS)/gofumpt-v0.12.0
GOVULNCHECK   := $(TOOLS)/govulncheck-v1.9.0

FUZZTIME  ?= 3s
BENCHTIME ?= 1s
# Flags for the load comparison, for instance: make benchmark BENCHMARK="-rounds 10 -body 4KiB"
BENCHMARK ?=
# Flags for the idle connections, for instance: make idle IDLE="-connections 1000"
IDLE ?=

# The end-to-end tests drive this binary.
export VELOCITY_BIN := $(CURDIR)/$(BINARY)

# bench/ is a module of its own, so that what is only compared with stays out of the product's go.mod.
MODULES := $(patsubst %/go.mod,%,./go.mod $(wildcard bench/go.mod))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## Start the gateway on :8080 with a sample upstream behind it; Ctrl-C stops both
	@scripts/run

.PHONY: dev
dev: build ## Like run, and rebuild and restart when a Go file changes
	@scripts/run --watch

# The version is stamped by LDFLAGS; go's own stamping fails in a checkout that belongs to another user.
.PHONY: build
build: go-version ## Build the static binary bin/velocity
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BINARY) ./cmd/velocity

.PHONY: version
version: ## Print the version that a build gets
	@echo $(VERSION) $(COMMIT) $(DATE)

.PHONY: test
test: build test-setup vet ## Run everything: vet, all tests with the race detector, allocation tests, short fuzzing
	@for module in $(MODULES); do CGO_ENABLED=1 go -C $$module test -race -shuffle=on ./...; done
	@scripts/alloc
	@scripts/fuzz $(FUZZTIME)

.PHONY: test-unit
test-unit: test-setup ## Run the tests that need no binary and no other process
	CGO_ENABLED=1 go test -race -shuffle=on $$(go list ./... | grep -v -e /internal/e2e -e /docs)

.PHONY: test-integration
test-integration: build test-setup ## Run the end-to-end tests against the built binary
	CGO_ENABLED=1 go test -race -count=1 ./internal/e2e/...

.PHONY: test-coverage
test-coverage: build test-setup ## Run all tests with coverage; coverage.html shows the lines
	CGO_ENABLED=1 go test -race -covermode=atomic -coverpkg=./... -coverprofile=coverage.out ./...
	go tool cover -html=coverage.out -o coverage.html
	@go tool cover -func=coverage.out | tail -n 1

.PHONY: alloc
alloc: build ## Assert that the hot path allocates nothing, per stage and over real sockets
	@scripts/alloc

.PHONY: fuzz
fuzz: go-version ## Fuzz every target for FUZZTIME (3s)
	@scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: go-version ## Run the in-memory Go benchmarks for BENCHTIME (1s) each
	@for module in $(MODULES); do go -C $$module test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...; done

.PHONY: benchmark
benchmark: build ## Compare with nginx and HAProxy under wrk; results go to bench/results
	@scripts/require wrk taskset
	@scripts/require --optional nginx haproxy
	go -C bench/load build -o $(CURDIR)/bin/load .
	bin/load $(BENCHMARK)

.PHONY: idle
idle: build ## Measure what 15,000 idle keep-alive connections cost: memory each, system calls a request
	go -C bench/idle build -o $(CURDIR)/bin/idle .
	bin/idle -binary $(BINARY) $(IDLE)

.PHONY: lint
lint: format-check $(GOLANGCI_LINT) $(GOVULNCHECK) ## Check format, style and known vulnerabilities
	@for module in $(MODULES); do (cd $$module && $(CURDIR)/$(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml ./...); done
	@scripts/vulncheck $(GOVULNCHECK)

.PHONY: format
format: $(GOFUMPT) ## Rewrite Go files in the project's format
	$(GOFUMPT) -l -w .

.PHONY: format-check
format-check: $(GOFUMPT) ## Fail when a Go file is not in the project's format
	@unformatted=$$($(GOFUMPT) -l .); if [ -n "$$unformatted" ]; then \
		printf '%s\n' "$$unformatted" "not formatted: run 'make format'" >&2; exit 1; fi

.PHONY: vet
vet: go-version ## Run go vet
	@for module in $(MODULES); do go -C $$module vet ./...; done

.PHONY: docs
docs: go-version ## Regenerate the generated files: JSON Schema, configuration reference, metric list
	go generate ./...

.PHONY: drift
drift: go-version ## Fail when a generated file is out of date
	@scripts/require git
	@scripts/drift

.PHONY: check
check: lint drift test ## Run what CI runs

.PHONY: setup-dev
setup-dev: test-setup $(GOLANGCI_LINT) $(GOFUMPT) $(GOVULNCHECK) ## Install what building, testing and linting need
	@echo "ready: tools are in $(TOOLS)"

.PHONY: clean
clean: ## Remove what building and testing made; the tools stay
	rm -rf bin dist coverage.out coverage.html

# What follows serves the targets above.

.PHONY: go-version
go-version:
	@scripts/go-version

# The race detector is C code: it needs a compiler and the C library's headers.
.PHONY: test-setup
test-setup: go-version
	@scripts/require gcc git curl redis-server

$(GOLANGCI_LINT): | go-version
	@scripts/tool $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

$(GOFUMPT): | go-version
	@scripts/tool $@ mvdan.cc/gofumpt@v0.12.0

$(GOVULNCHECK): | go-version
	@scripts/tool $@ golang.org/x/vuln/cmd/govulncheck@v1.9.0
