# `make help` lists the targets. Everything is plain go; the two commands that a
# fresh Debian machine needs are `make demo` and `make test`.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LINT     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME ?= 30s

.DEFAULT_GOAL := help
.PHONY: help build setup demo test test-model test-crash test-powercut test-patroni race test-matrix trees tap tap-matrix test-histories torture test-layouts lint vet fuzz bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

build: ## build bin/failback-hook, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.linkedVersion=$(VERSION)' -o bin/failback-hook ./cmd/failback-hook

setup: ## install PostgreSQL and a C compiler where they are missing (root, Debian)
	@scripts/install-postgresql

demo: ## the main job on this machine, in a minute; leaves nothing behind
	@scripts/demo

test: setup ## unit and integration tests on every PostgreSQL found, and an embedded etcd
	@GO=$(GO) scripts/test

test-matrix: setup ## the tests of engine, hook and program on 13 to 18, fetched where missing
	@scripts/test-matrix

test-patroni: setup ## the program in the hands of real Patronis, 3.0 and 4.0, fetched where missing (ARGS='-run X -v')
	@scripts/test-patroni $(ARGS)

trees: ## fetch PostgreSQL 13, 17 and 18 of other Debian releases, with their pg_rewind
	@for major in 13 17 18; do scripts/debian-tree $$major || exit 1; done

test-histories: setup ## every history of a failover, on every PostgreSQL found, beside stock pg_rewind
	$(GO) test -count=1 -v -timeout 90m -run '^TestHistory' ./rewind -args -histories -stock

test-crash: setup ## a kill, an error and a full disk at every change, on every PostgreSQL found (MAJOR=17 for one)
	@MAJOR=$(MAJOR) scripts/test-crash

test-powercut: setup ## the power fails at every write of a rewind and of its undo, on a disk that remembers (root; FS=ext4,xfs,btrfs EVERY=1)
	$(GO) test -count=1 -timeout 10h -v -run '^TestPowerCut' ./rewind -args -powercut=$(or $(EVERY),1) -powercut-fs=$(or $(FS),ext4)

torture: setup ## random scenes by seed, compared with their leader (SEEDS=200 START=1, or SEED=…)
	@scripts/torture

test-layouts: setup ## layouts that take 25 GB and many minutes: 1 GB segments of WAL and of relations, 100,000 tables
	$(GO) test -count=1 -parallel 1 -timeout 60m -v -run 'TestWALSegmentSizes|TestManySegments|TestManyTables' ./rewind -layouts # one by one: memory is measured

race: setup ## the same under the race detector
	$(GO) test -race -count=1 -timeout 25m ./...

vet: ## go vet, gofmt, go mod tidy
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt"; exit 1; }
	$(GO) vet ./...
	$(GO) mod tidy -diff

tap: setup ## PostgreSQL's own tests of pg_rewind, with our program in its place (MAJOR=17 for another)
	@scripts/tap $(MAJOR)

tap-matrix: setup ## the same for 13, 15, 17 and 18
	@scripts/tap-matrix

lint: vet ## vet, and golangci-lint
	$(GO) run $(LINT) run ./...

test-model: ## every order of events in larger worlds of lock and queue (a few minutes)
	$(GO) test ./dcs -run 'TestModel$$' -count 1 -v -full

fuzz: ## run every fuzz target for FUZZTIME (30s)
	@scripts/fuzz $(FUZZTIME)

bench: setup ## side by side with stock pg_rewind: time, memory, ratio
	@scripts/bench

docs: ## write the generated tables of README.md anew
	$(GO) test ./cmd/failback-hook -run TestDocumentedTables -update

clean: ## remove what the targets have made
	rm -rf bin bench.txt coverage.out
