package prommetrics

import (
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meshpass/meshpass/metrics"
	"github.com/meshpass/meshpass/observe"
)

// Collector has the metrics of the issuers and validators that have it as their observer.
// It is an observe.Observer, an observe.Attacher and a prometheus.Collector, and safe for
// concurrent use. [New] makes one.
type Collector struct {
	tally *metrics.Tally
	descs map[*metrics.Instrument]*prometheus.Desc

	durations map[observe.Operation]*prometheus.HistogramVec
	children  [metrics.Indexes]atomic.Pointer[prometheus.Observer]
}

// New returns a collector to register, and to give to issuers and validators with the
// option WithObserver. One is enough for a process. To tell two groups of validators apart,
// make two, and register each with a label of its own: see prometheus.WrapRegistererWith.
func New() *Collector {
	c := &Collector{tally: metrics.NewTally(), descs: make(map[*metrics.Instrument]*prometheus.Desc),
		durations: make(map[observe.Operation]*prometheus.HistogramVec)}
	for i := range metrics.Instruments() {
		c.descs[i] = prometheus.NewDesc(nameOf(i), i.Help, i.Attributes, nil)
	}
	for operation, i := range map[observe.Operation]*metrics.Instrument{
		observe.Validate: metrics.ValidationDuration, observe.Issue: metrics.IssuanceDuration, observe.Renew: metrics.RenewalDuration,
	} {
		c.durations[operation] = prometheus.NewHistogramVec(
			prometheus.HistogramOpts{Name: nameOf(i), Help: i.Help, Buckets: i.Bounds}, i.Attributes)
	}
	return c
}

// nameOf returns the name of a metric as Prometheus writes it.
func nameOf(i *metrics.Instrument) string {
	name := strings.ReplaceAll(i.Name, ".", "_")
	if i.Seconds() {
		name += "_seconds"
	}
	if i.Type == metrics.Counter {
		name += "_total"
	}
	return name
}

// Observe implements observe.Observer.
func (c *Collector) Observe(o observe.Outcome) {
	c.tally.Observe(o)
	index, timed := metrics.IndexOf(o)
	if !timed {
		return
	}
	child := c.children[index].Load()
	if child == nil {
		created := c.durations[index.Operation()].WithLabelValues(index.Attributes())
		child = &created
		c.children[index].Store(child)
	}
	(*child).Observe(o.Took.Seconds())
}

// Attach implements observe.Attacher.
func (c *Collector) Attach(r observe.Reporter) (detach func()) { return c.tally.Attach(r) }

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range c.descs {
		descs <- desc
	}
	for _, d := range c.durations {
		d.Describe(descs)
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(all chan<- prometheus.Metric) {
	for v := range c.tally.Values() {
		kind := prometheus.GaugeValue
		if v.Instrument.Type == metrics.Counter {
			kind = prometheus.CounterValue
		}
		all <- prometheus.MustNewConstMetric(c.descs[v.Instrument], kind, v.Value, v.Attributes...)
	}
	for _, d := range c.durations {
		d.Collect(all)
	}
}
