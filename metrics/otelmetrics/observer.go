package otelmetrics

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/meshpass/meshpass/metrics"
	"github.com/meshpass/meshpass/observe"
)

// Observer has the instruments for the issuers and validators whose observer it is. It is
// an observe.Observer and an observe.Attacher, and safe for concurrent use. [New] makes
// one.
type Observer struct {
	tally        *metrics.Tally
	registration metric.Registration
	observables  map[*metrics.Instrument]observable

	durations map[observe.Operation]metric.Float64Histogram
	options   [metrics.Indexes]atomic.Pointer[[]metric.RecordOption]
}

// observable is an asynchronous instrument, of one of the two types of number.
type observable struct {
	whole   metric.Int64Observable
	seconds metric.Float64Observable
	keys    []attribute.Key
}

// scope is the instrumentation scope.
const scope = "github.com/meshpass/meshpass/metrics/otelmetrics"

// New makes the instruments. Give the observer to issuers and validators with the option
// WithObserver. One is enough for a process. The error is from the provider.
func New(provider metric.MeterProvider) (*Observer, error) {
	if provider == nil {
		return nil, errors.New("otelmetrics: the meter provider is nil")
	}
	meter := provider.Meter(scope)
	o := &Observer{tally: metrics.NewTally(), observables: make(map[*metrics.Instrument]observable),
		durations: make(map[observe.Operation]metric.Float64Histogram)}
	var all []metric.Observable
	for i := range metrics.Instruments() {
		made, err := newObservable(meter, i)
		if err != nil {
			return nil, fmt.Errorf("otelmetrics: %s: %w", i.Name, err)
		}
		o.observables[i] = made
		if i.Seconds() {
			all = append(all, made.seconds)
		} else {
			all = append(all, made.whole)
		}
	}
	for operation, i := range map[observe.Operation]*metrics.Instrument{
		observe.Validate: metrics.ValidationDuration, observe.Issue: metrics.IssuanceDuration, observe.Renew: metrics.RenewalDuration,
	} {
		var err error
		o.durations[operation], err = meter.Float64Histogram(i.Name, metric.WithUnit(i.Unit), metric.WithDescription(i.Help),
			metric.WithExplicitBucketBoundaries(i.Bounds...))
		if err != nil {
			return nil, fmt.Errorf("otelmetrics: %s: %w", i.Name, err)
		}
	}
	var err error
	if o.registration, err = meter.RegisterCallback(o.collect, all...); err != nil {
		return nil, fmt.Errorf("otelmetrics: %w", err)
	}
	return o, nil
}

func newObservable(meter metric.Meter, i *metrics.Instrument) (o observable, err error) {
	unit, help := metric.WithUnit(i.Unit), metric.WithDescription(i.Help)
	switch {
	case i.Type == metrics.Counter:
		o.whole, err = meter.Int64ObservableCounter(i.Name, unit, help)
	case i.Type == metrics.UpDownCounter:
		o.whole, err = meter.Int64ObservableUpDownCounter(i.Name, unit, help)
	case i.Seconds():
		o.seconds, err = meter.Float64ObservableGauge(i.Name, unit, help)
	default:
		o.whole, err = meter.Int64ObservableGauge(i.Name, unit, help)
	}
	for _, name := range i.Attributes {
		o.keys = append(o.keys, keyOf(name))
	}
	return o, err
}

// keyOf returns the name of an attribute as OpenTelemetry writes it. The semantic
// conventions have one of them.
func keyOf(name string) attribute.Key {
	if name == "reason" {
		return "error.type"
	}
	return attribute.Key("meshpass." + name)
}

// Close takes the callback away from the provider, which then has no more values of the
// validators.
func (o *Observer) Close() error { return o.registration.Unregister() }

// Observe implements observe.Observer.
func (o *Observer) Observe(outcome observe.Outcome) {
	o.tally.Observe(outcome)
	index, timed := metrics.IndexOf(outcome)
	if !timed {
		return
	}
	options := o.options[index].Load()
	if options == nil {
		kind, class := index.Attributes()
		options = &[]metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(
			keyOf("kind").String(kind), keyOf("class").String(class)))}
		o.options[index].Store(options)
	}
	o.durations[index.Operation()].Record(context.Background(), outcome.Took.Seconds(), *options...)
}

// Attach implements observe.Attacher.
func (o *Observer) Attach(r observe.Reporter) (detach func()) { return o.tally.Attach(r) }

func (o *Observer) collect(_ context.Context, to metric.Observer) error {
	for v := range o.tally.Values() {
		of := o.observables[v.Instrument]
		attributes := make([]attribute.KeyValue, 0, len(of.keys))
		for i, key := range of.keys {
			if v.Attributes[i] != "" {
				attributes = append(attributes, key.String(v.Attributes[i]))
			}
		}
		if v.Instrument.Seconds() {
			to.ObserveFloat64(of.seconds, v.Value, metric.WithAttributes(attributes...))
		} else {
			to.ObserveInt64(of.whole, int64(v.Value), metric.WithAttributes(attributes...))
		}
	}
	return nil
}
