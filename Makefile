# The commands of the house. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help up build deps test check lint deny unit tools e2e bench image chart clean

# A cluster on this machine needs root: `up` and the end-to-end tests go through sudo for anybody else.
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
ROOT := $(shell [ "$$(id -u)" = 0 ] || [ -n "$$(command -v sudo)" ] && echo yes)
# Cargo itself stays with its user, its test programs do not.
AS_ROOT := $(if $(SUDO),CARGO_TARGET_$(shell rustc -vV | sed -n 's/host: //p' | tr a-z- A-Z_)_RUNNER=$(SUDO))
KUBECTL_TAG := v1.37.2
# The last of Helm 3: Helm 4 applies on the server's side by default, which the embedded API server cannot do yet.
HELM_TAG := v3.22.0
# Of Kubernetes' libraries in it: what `helm template` and `helm lint` take the cluster for.
HELM_KUBE_MINOR := 37
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
ARCH := $(shell uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')

help: ## list the commands
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/    make \1\t\2/p' Makefile | expand -t 24

up: build ## install what is missing, build, start a cluster with the example application (Ctrl-C ends it)
	@exec $(SUDO) target/release/portcullis up --demo $(UP)

build: ## build target/release/portcullis
	@.ci/deps run
	cargo build --release --locked --bin portcullis

deps: ## install everything that any of these commands needs
	@.ci/deps run
	@.ci/deps test
	@.ci/deps bench

test: ## the gate: format, clippy, licences, house rules, all tests, and the real binary with real kubectl and curl
	@.ci/deps test
	@$(MAKE) check
	@$(MAKE) unit
	@$(MAKE) e2e

check: lint deny ## format, clippy and licences alone

lint:
	cargo fmt --all --check
	cargo clippy -q --locked --workspace --all-targets -- -D warnings

deny:
	cargo deny --locked check --hide-inclusion-graph -A duplicate licenses bans sources
	@if timeout 120 cargo deny --locked fetch db >/dev/null 2>&1; \
	then cargo deny --locked check --hide-inclusion-graph advisories; \
	else echo "left out: advisories, because the RustSec database cannot be fetched from here"; fi

unit: ## every test but the end-to-end ones
	cargo test -q --locked --workspace --exclude portcullis-conformance
	cargo test -q --locked -p portcullis-conformance --lib

tools: target/tools/kubectl target/tools/helm target/tools/external-dns ## kubectl, Helm and ExternalDNS for the tests, from their Go modules

target/tools/kubectl: conformance/kubectl/main.go conformance/kubectl/go.mod conformance/kubectl/go.sum
	@.ci/deps test
	cd conformance/kubectl && $(CURDIR)/target/tools/bin/go build -mod=readonly -trimpath \
		-ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$(KUBECTL_TAG)" -o $(CURDIR)/$@ .

target/tools/helm: conformance/helm/go.mod conformance/helm/go.sum
	@.ci/deps test
	cd conformance/helm && $(CURDIR)/target/tools/bin/go build -mod=readonly -trimpath -ldflags "-s -w \
		-X helm.sh/helm/v3/internal/version.version=$(HELM_TAG) \
		-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=$(HELM_KUBE_MINOR) \
		-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$(HELM_KUBE_MINOR)" \
		-o $(CURDIR)/$@ helm.sh/helm/v3/cmd/helm

target/tools/external-dns: conformance/external-dns/main.go conformance/external-dns/go.mod conformance/external-dns/go.sum
	@.ci/deps test
	cd conformance/external-dns && $(CURDIR)/target/tools/bin/go build -mod=readonly -trimpath -ldflags "-s -w" -o $(CURDIR)/$@ .

e2e: tools ## the real binary, driven by real kubectl, Helm, curl and ExternalDNS
	cargo build -q --locked --bin portcullis
	cargo test -q --locked -p portcullis-conformance --test kubectl --test routing --test separate --test external_dns --test chart
ifeq ($(ROOT),yes)
	$(AS_ROOT) cargo test -q --locked -p portcullis-conformance --test bad_input --test lifecycle --test pods --test dns --test figures --test install
	$(if $(SUDO),$(AS_ROOT) cargo test -q --locked -p portcullis-agent --test node --test ruleset)
else
	@echo "left out: bad_input, lifecycle, pods, dns, figures, install, and the node's own node and ruleset, because they need root"
endif

image: build ## dist/portcullis-VERSION-ARCH.oci.tar: the command and its libraries as an OCI archive, without a Docker daemon
	target/release/portcullis image build --output dist/portcullis-$(VERSION)-$(ARCH).oci.tar

chart: target/tools/helm ## dist/portcullis-VERSION.tgz: the chart, linted, rendered with its examples of values, packaged
	@grep -qx 'version: $(VERSION)' charts/portcullis/Chart.yaml && grep -qx 'appVersion: $(VERSION)' charts/portcullis/Chart.yaml \
		|| { echo "make chart: version and appVersion of charts/portcullis/Chart.yaml are not $(VERSION)" >&2; exit 1; }
	target/tools/helm lint --strict charts/portcullis
	@for values in charts/portcullis/ci/*-values.yaml; do \
		target/tools/helm template front charts/portcullis --values "$$values" > /dev/null && echo "rendered $$values"; \
	done
	target/tools/helm package charts/portcullis --destination dist

bench: ## CPU per request beside HAProxy, nginx, Envoy and pingora-proxy
	@.ci/deps bench
	cargo build -q --locked --release -p portcullis-benches
	cargo build -q --locked --release --manifest-path benches/pingora-peer/Cargo.toml --target-dir target/pingora-peer
	target/release/portcullis-benches $(BENCH)

clean: ## remove what was built
	cargo clean
