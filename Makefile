# The developer's manual: make help
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Debug and release builds lie apart, so that neither waits for the other.
RELEASE := --configuration release --scratch-path .build-release
# Rounds of the crash test (kill -9 under load): 50 in CI.
KILL9_ROUNDS ?= 50
CONFIG ?= examples/gateway.yaml

# How long the fuzzer looks.
FUZZ_SECONDS ?= 60

.PHONY: help setup build run demo test bench fuzz lint format clean

help: ## what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: ## install what a bare Debian 12 with Swift 6.3 lacks (idempotent)
	@scripts/setup.sh

build: setup ## a debug build of everything
	swift build --build-tests

run: setup ## serve $(CONFIG) with a release build; needs GATEWAY_MASTER_KEY
	swift build $(RELEASE) --product LedgerServer
	.build-release/release/LedgerServer serve --config $(CONFIG)

demo: setup ## a streamed completion is charged and the balance proven, on a temporary ledger
	swift build --product LedgerServer
	swift build --product replay
	@scripts/demo.sh .build/debug

test: setup ## every test, end to end included
	swift build --build-tests
	KILL9_ROUNDS=$(KILL9_ROUNDS) E2E_PYTHON=$(CURDIR)/.venv/bin/python swift test --skip-build

bench: setup ## every benchmark, beside its baseline measured in the same run
	@scripts/setup.sh bench
	Benchmarks/run.sh

fuzz: setup ## what the fuzzer finds in the metering of streams, for FUZZ_SECONDS
	scripts/fuzz.sh $(FUZZ_SECONDS)

lint: ## format and house rules
	swift format lint --strict --recursive Package.swift Sources Tests Benchmarks/Package.swift Benchmarks/Sources Fuzz/Package.swift Fuzz/Sources

format: ## format in place
	swift format --in-place --recursive Package.swift Sources Tests Benchmarks/Package.swift Benchmarks/Sources Fuzz/Package.swift Fuzz/Sources

clean: ## remove everything that was built
	rm -rf .build .build-release Benchmarks/.build Benchmarks/.build-native Fuzz/.build .venv
