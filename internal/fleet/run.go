package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/capfind/capfind/loadgen"
)

// HoleError says that a part of a load was lost: the rest is no measurement of it, and
// the load is to be sent again.
type HoleError struct{ Text string }

func (e *HoleError) Error() string { return e.Text }

// Incomplete marks the error for whoever orders loads.
func (e *HoleError) Incomplete() bool { return true }

// collection is an order under way.
type collection struct {
	id     string
	began  time.Time // by the hub's clock
	parts  []*part
	number func(share, i int) int
	load   *loadgen.Load

	batches chan batch
	woken   chan struct{}
}

// part is a worker's share of it.
type part struct {
	worker  string
	load    loadgen.Load
	clock   offset
	got     map[int]bool // batches, by number
	run     *wireRun
	refused string
	gone    bool
}

func (p *part) done() bool {
	return p.gone || p.refused != "" || p.run != nil && len(p.got) == p.run.Batches
}

func (c *collection) done() bool {
	return !slices.ContainsFunc(c.parts, func(p *part) bool { return !p.done() })
}

func (c *collection) wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// Patience with workers that were told to stop.
const stopPatience = 30 * time.Second

// Run sends a load from all workers at once and returns what came back as one run: times
// are offsets from the moment at which they all began, by the hub's clock. A run in which
// a worker was lost ends in a HoleError. Load.OnSample is called as samples come in,
// which is a tenth of a second after they were measured, or later.
func (h *Hub) Run(ctx context.Context, load loadgen.Load) (loadgen.Run, error) {
	switch err := h.gather(ctx, load.Drain); {
	case ctx.Err() != nil:
		return loadgen.Run{Load: load, End: loadgen.EndCancelled}, nil
	case errors.Is(err, errDrained):
		return loadgen.Run{Load: load, End: loadgen.EndDrained}, nil
	case err != nil:
		return loadgen.Run{Load: load}, err
	}
	c, err := h.place(ctx, &load)
	if err != nil {
		return loadgen.Run{Load: load}, err
	}
	defer h.forget(c)
	return h.collect(ctx, c)
}

// place cuts the load and gives out the shares.
func (h *Hub) place(ctx context.Context, load *loadgen.Load) (*collection, error) {
	who, _ := h.ready()
	loads, number, err := load.Split(h.weigh(who))
	if err != nil {
		return nil, fmt.Errorf("%w: more --workers are needed, or a higher --max-streams of theirs", err)
	}
	c := &collection{number: number, load: load, batches: make(chan batch, 64), woken: make(chan struct{}, 1)}
	for _, share := range loads {
		c.parts = append(c.parts, &part{worker: who[share.Share.Machine].Name, load: share, got: map[int]bool{}})
	}
	if err := h.synchronize(ctx, c); err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.orders++
	c.id = fmt.Sprintf("%s-%d", h.id, h.orders)
	h.order = c
	h.mu.Unlock()
	// Connections are opened before it begins.
	c.began = time.Now().Add(lead(load))
	for k, p := range c.parts {
		o := order{ID: c.id, Share: k, Begin: c.began.Add(p.clock.by).UnixNano(), Load: toWire(&p.load)}
		if err := publish(ctx, h.js, h.subjects().of("down", "order", p.worker), fmt.Sprintf("%s/%d", c.id, k), o); err != nil {
			h.forget(c)
			return nil, err
		}
	}
	return c, nil
}

// lead is how long before its beginning an order is given out.
func lead(l *loadgen.Load) time.Duration {
	return 300*time.Millisecond + time.Duration(l.Concurrency)*200*time.Microsecond
}

// synchronize measures the clocks of those who take part.
func (h *Hub) synchronize(ctx context.Context, c *collection) error {
	var all sync.WaitGroup
	lost := make([]error, len(c.parts))
	for i, p := range c.parts {
		all.Go(func() {
			o, err := ask(ctx, h.nc, h.subjects().of("down", "clock", p.worker))
			if err != nil || o.at.IsZero() {
				lost[i] = &HoleError{fmt.Sprintf("worker %s does not answer", p.worker)}
				return
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if m := h.members[p.worker]; m != nil {
				m.clock = m.clock.better(o)
				p.clock = m.clock
			}
		})
	}
	all.Wait()
	return cmp.Or(lost...)
}

func (h *Hub) forget(c *collection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.order == c {
		h.order = nil
	}
}

// samples takes what comes out of the stream. What belongs to no order in hand is of an
// earlier one, and of no use.
func (h *Hub) samples(msg jetstream.Msg) {
	b, err := unpack[batch](msg.Data())
	if err == nil {
		h.mu.Lock()
		c := h.order
		h.mu.Unlock()
		if c != nil && c.id == b.Order {
			select {
			case c.batches <- b: // waits where the collection is behind: the stream keeps the rest
			case <-time.After(10 * time.Second):
				_ = msg.Nak()
				return
			}
		}
	}
	_ = msg.Ack() // else it comes again, and is known by its number
}

// collect gathers the shares of an order until all are there or a worker is lost.
func (h *Hub) collect(ctx context.Context, c *collection) (loadgen.Run, error) {
	g := &gathering{collection: c, run: loadgen.Run{Load: *c.load, Started: c.began, End: loadgen.EndComplete}}
	drain, cancelled := c.load.Drain, ctx.Done()
	var late <-chan time.Time
	halt := func(drain bool) {
		_ = h.nc.Publish(h.subjects().of("down", "stop"), pack(stop{Order: c.id, Drain: drain}))
		if late == nil && !drain {
			late = time.After(stopPatience)
		}
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for !c.done() {
		select {
		case <-tick.C:
		case b := <-c.batches:
			if g.take(b) && !g.stopped {
				g.stopped = true
				halt(false)
			}
		case <-c.woken:
			if h.missing(c) && g.hole == "" {
				g.hole = c.lost()
				halt(false)
			}
		case <-drain:
			drain, g.drained = nil, true
			halt(true)
		case <-cancelled:
			cancelled, g.cancelled = nil, true
			halt(false)
		case <-late:
			for _, p := range c.parts {
				p.gone = !p.done()
			}
			if g.hole == "" {
				g.hole = c.lost()
			}
		}
		h.progress(c)
	}
	return g.finish()
}

// lost names the workers that are gone.
func (c *collection) lost() string {
	var gone []string
	for _, p := range c.parts {
		if p.gone {
			gone = append(gone, p.worker)
		}
	}
	if len(gone) == 0 {
		return ""
	}
	return fmt.Sprintf("worker %s was lost while the load was sent", strings.Join(gone, ", "))
}

// missing marks the shares of workers that were lost, or have begun anew, and reports
// whether there are any.
func (h *Hub) missing(c *collection) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	any := false
	for _, p := range c.parts {
		m := h.members[p.worker]
		if !p.done() && (m == nil || m.lost || !m.ready) {
			p.gone = true
		}
		any = any || p.gone
	}
	return any
}

// progress sums up how far the workers say that they are.
func (h *Hub) progress(c *collection) {
	if c.load.Progress == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var sent, inFlight int64
	for _, p := range c.parts {
		if m := h.members[p.worker]; m != nil && m.beat.Order == c.id {
			sent, inFlight = sent+m.beat.Sent, inFlight+m.beat.InFlight
		}
	}
	c.load.Progress.Sent.Store(sent)
	c.load.Progress.InFlight.Store(inFlight)
}

// Status is a worker in the middle of a load.
type Status struct {
	Name     string
	Share    int   // of the load's requests in flight
	InFlight int64 // as it said last
	Trouble  string
}

// Status tells of the workers of the load in hand, in the order of their shares; none
// between loads.
func (h *Hub) Status() []Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.order == nil {
		return nil
	}
	var all []Status
	for _, p := range h.order.parts {
		s := Status{Name: p.worker, Share: p.load.Concurrency}
		switch m := h.members[p.worker]; {
		case m == nil || m.lost:
			s.Trouble = "it was lost"
		case m.failed != "":
			s.Trouble = m.failed
		case m.beat.Order == h.order.id:
			s.InFlight = m.beat.InFlight
		}
		all = append(all, s)
	}
	return all
}

// gathering is a run in the making.
type gathering struct {
	*collection
	run                         loadgen.Run
	share                       []int // of each sample
	stopped, drained, cancelled bool
	hole                        string
}

// take counts a batch in, once, and reports whether a hook wants the run to end.
func (g *gathering) take(b batch) (halt bool) {
	if b.Share < 0 || b.Share >= len(g.parts) {
		return false
	}
	p := g.parts[b.Share]
	if b.Refused != "" {
		p.refused = b.Refused
		return true
	}
	if p.got[b.Number] || p.gone {
		return false
	}
	p.got[b.Number] = true
	if b.Last {
		p.run = &wireRun{}
		if err := json.Unmarshal(b.Run, p.run); err != nil {
			p.refused = "its report cannot be read: " + err.Error()
			return true
		}
	}
	for i := range b.Samples {
		s := &b.Samples[i]
		s.Index = g.number(b.Share, s.Index)
		g.load.Progress.Count(s)
		if !g.load.DropSamples {
			g.run.Samples, g.share = append(g.run.Samples, *s), append(g.share, b.Share)
		}
		if g.load.OnSample != nil && g.load.OnSample(s) {
			halt = true
		}
	}
	return halt
}

// late is by how much a share began after the moment at which all were to.
func (p *part) late() time.Duration {
	if p.run == nil {
		return 0
	}
	return max(0, time.Duration(p.run.Late))
}

// late moves a sample's times.
func late(s *loadgen.Sample, by time.Duration) {
	for _, t := range []*time.Duration{&s.Intended, &s.Ready, &s.End} {
		*t += by
	}
	if s.WasSent {
		s.Sent += by
	}
	if s.HasOutput() {
		s.FirstOutput, s.LastOutput = s.FirstOutput+by, s.LastOutput+by
	}
	if s.FirstAnswer != 0 {
		s.FirstAnswer += by
	}
}

// finish makes one run of the shares.
func (g *gathering) finish() (loadgen.Run, error) {
	r := &g.run
	for i := range r.Samples {
		late(&r.Samples[i], g.parts[g.share[i]].late())
	}
	slices.SortStableFunc(r.Samples, func(a, b loadgen.Sample) int { return cmp.Compare(a.End, b.End) })
	for _, p := range g.parts {
		if p.refused != "" {
			return *r, fmt.Errorf("worker %s: %s", p.worker, p.refused)
		}
		if p.gone || p.run == nil {
			continue
		}
		if p.run.Failed != "" {
			return *r, fmt.Errorf("worker %s: %s", p.worker, p.run.Failed)
		}
		r.Elapsed = max(r.Elapsed, time.Duration(p.run.Elapsed)+p.late())
		if r.End == loadgen.EndComplete {
			r.End = p.run.End
		}
		for _, x := range p.run.Stalls {
			r.Stalls = append(r.Stalls, loadgen.Stall{From: x.From + p.late(), To: x.To + p.late()})
		}
		r.Parts = append(r.Parts, loadgen.Part{
			Worker: p.worker, Concurrency: p.load.Concurrency, Requests: p.load.Requests, ClockError: p.clock.error, Health: p.run.Health,
		})
	}
	r.Health = loadgen.Together(r.Parts)
	switch {
	case g.stopped:
		r.End = loadgen.EndStopped
	case g.cancelled:
		r.End = loadgen.EndCancelled
	case g.drained:
		r.End = loadgen.EndDrained
	case g.hole != "":
		return *r, &HoleError{g.hole}
	}
	return *r, nil
}
