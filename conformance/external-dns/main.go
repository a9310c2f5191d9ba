// Command external-dns is upstream's ExternalDNS from its published Go module with the one provider that tests talk to
// (RFC 2136) and the TXT registry: without the clouds' libraries it builds in a minute. Flags, sources, plan, registry and
// provider are upstream's; the loop below is what its own does with --events, with no pause between two events.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	log "github.com/sirupsen/logrus"

	"sigs.k8s.io/external-dns/endpoint"
	"sigs.k8s.io/external-dns/pkg/apis/externaldns"
	"sigs.k8s.io/external-dns/pkg/apis/externaldns/validation"
	"sigs.k8s.io/external-dns/plan"
	"sigs.k8s.io/external-dns/provider"
	"sigs.k8s.io/external-dns/provider/rfc2136"
	"sigs.k8s.io/external-dns/registry"
	"sigs.k8s.io/external-dns/registry/txt"
	"sigs.k8s.io/external-dns/source"
	"sigs.k8s.io/external-dns/source/annotations"
	"sigs.k8s.io/external-dns/source/wrappers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, arguments []string) error {
	cfg := externaldns.NewConfig()
	if err := cfg.ParseFlags(arguments); err != nil {
		return fmt.Errorf("flags: %w", err)
	}
	if err := validation.ValidateConfig(cfg); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	annotations.SetAnnotationPrefix(cfg.AnnotationPrefix)
	sourceConfig, err := source.NewSourceConfig(cfg)
	if err != nil {
		return fmt.Errorf("sources: %w", err)
	}
	src, err := wrappers.Build(ctx, sourceConfig)
	if err != nil {
		return fmt.Errorf("sources: %w", err)
	}
	filter := endpoint.NewDomainFilterWithOptions(endpoint.WithDomainFilter(cfg.DomainFilter))
	prov, err := rfc2136.New(ctx, cfg, filter)
	if err != nil {
		return fmt.Errorf("provider: %w", err)
	}
	reg, err := txt.New(cfg, prov)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	changed := make(chan struct{}, 1)
	src.AddEventHandler(ctx, func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	for {
		if err := reconcile(ctx, cfg, src, reg, filter); err != nil {
			log.Errorf("reconcile: %v", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(cfg.Interval):
		}
	}
}

func reconcile(
	ctx context.Context, cfg *externaldns.Config, src source.Source, reg registry.Registry, filter endpoint.DomainFilterInterface,
) error {
	current, err := reg.Records(ctx)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	ctx = context.WithValue(ctx, provider.RecordsContextKey, current)
	found, err := src.Endpoints(ctx)
	if err != nil {
		return fmt.Errorf("endpoints: %w", err)
	}
	desired, err := reg.AdjustEndpoints(found)
	if err != nil {
		return fmt.Errorf("adjusting: %w", err)
	}
	planned := (&plan.Plan{
		Policies:       []plan.Policy{plan.Policies[cfg.Policy]},
		Current:        current,
		Desired:        desired,
		DomainFilter:   endpoint.MatchAllDomainFilters{filter, reg.GetDomainFilter()},
		ManagedRecords: cfg.ManagedDNSRecordTypes,
		ExcludeRecords: cfg.ExcludeDNSRecordTypes,
		OwnerID:        reg.OwnerID(),
	}).Calculate()
	if !planned.Changes.HasChanges() {
		return nil
	}
	return reg.ApplyChanges(ctx, planned.Changes)
}
