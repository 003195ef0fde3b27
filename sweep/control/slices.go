package control

import (
	"slices"
	"sync"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// soakKeeps is how many requests a soak keeps whole. A run of hours must stay in
// bounded memory; the slices count every request all the same.
const soakKeeps = 100_000

// slicer counts the requests of a run in slices of time; nil counts nothing.
type slicer struct {
	session *session
	width   time.Duration
	offset  time.Duration // what an earlier, interrupted run has behind it
	most    int           // slices, earlier ones included
	first   int           // of this run
	slices  []sweep.SoakSlice
	open    slice
	count   int
	kept    []loadgen.Sample
	closed  func() // hears of every slice that is closed; may be nil
	stop    func() // ends the snapshots
}

// slice is one being filled.
type slice struct {
	index             int
	completed, failed int
	tokens            int
	ttft, tpot, e2e   meanOf
}

type meanOf struct {
	sum float64
	n   int
}

func (m *meanOf) add(d time.Duration, ok bool) {
	if ok {
		m.sum += d.Seconds()
		m.n++
	}
}

func (m meanOf) number() analysis.Number {
	if m.n == 0 {
		return analysis.Number{}
	}
	return loadgen.Known(m.sum / float64(m.n))
}

// slices begins the slices of an order that wants them.
func (s *session) slices(o *sweep.Order) *slicer {
	if o.Slice <= 0 {
		return nil
	}
	k := &slicer{session: s, width: o.Slice, first: len(s.h.Slices), slices: slices.Clone(s.h.Slices)}
	if n := len(k.slices); n > 0 {
		k.offset = time.Duration((k.slices[n-1].AtSeconds + k.slices[n-1].Seconds) * float64(time.Second))
	}
	k.most = k.first + int((o.Duration+o.Slice-1)/o.Slice)
	k.stop = func() {}
	if s.Journal != nil {
		k.keepSnapshots(o)
	}
	return k
}

// collect is what takes in the requests; nil where nothing does.
func (k *slicer) collect() func(*loadgen.Sample) {
	if k == nil {
		return nil
	}
	return k.sample
}

// end closes the last slice where enough of it was run, and hands over the slices and
// the requests that were kept.
func (k *slicer) end(run *loadgen.Run) {
	if k == nil {
		return
	}
	k.stop() // the step is stored next: a snapshot must neither get in its way nor come after it
	if k.open.completed+k.open.failed > 0 && len(k.slices) < k.most {
		k.close()
	}
	run.Samples = k.kept
	k.memory(run.Started)
	k.session.h.Slices = k.slices
}

// sample counts a finished request. It runs on the generator's path.
func (k *slicer) sample(x *loadgen.Sample) {
	if x.Class == loadgen.Cancelled {
		return
	}
	k.count++
	if len(k.kept) < soakKeeps {
		k.kept = append(k.kept, *x)
	}
	for at := int(x.End / k.width); k.open.index < at; {
		k.close()
	}
	switch {
	case x.Class == loadgen.Success:
		k.open.completed++
		k.open.tokens += x.OutputTokens
		k.open.ttft.add(x.TTFT())
		k.open.tpot.add(x.TPOT())
		k.open.e2e.add(x.E2E())
	case x.Class.ServerFailure():
		k.open.failed++
	}
}

// close ends the open slice and begins the next one.
func (k *slicer) close() {
	o := &k.open
	sec := k.width.Seconds()
	k.slices = append(k.slices, sweep.SoakSlice{
		AtSeconds: (k.offset + time.Duration(o.index)*k.width).Seconds(), Seconds: sec, Completed: o.completed, Failed: o.failed,
		RequestThroughput: float64(o.completed) / sec, OutputThroughput: float64(o.tokens) / sec,
		TTFT: o.ttft.number(), TPOT: o.tpot.number(), E2E: o.e2e.number(),
	})
	k.open = slice{index: o.index + 1}
	if k.closed != nil {
		k.closed()
	}
}

// keepSnapshots stores the result whenever a slice is closed, from a goroutine of its
// own: a slow disk must not hold up the load. What it stores is a copy, for the result
// itself belongs to the run under way. k.stop waits for the last one; further calls do
// nothing.
func (k *slicer) keepSnapshots(o *sweep.Order) {
	s := k.session
	base, first := *s.r, s.r.Spent.Prompts
	shots := make(chan sweep.Result, 1)
	done := make(chan struct{})
	var trouble error // belongs to the goroutine until done is closed
	k.closed = func() {
		now := base
		now.Spent = s.r.Spent
		now.Spent.Prompts = first + k.count + o.Concurrency
		now.Soak = &sweep.SoakAnswer{Slices: slices.Clone(k.slices)}
		select {
		case shots <- now:
		default: // the disk is behind; the next one holds this one too
		}
	}
	go func() {
		defer close(done)
		for r := range shots {
			if err := s.Journal.Save(&r); err != nil {
				trouble = err
			}
		}
	}()
	k.stop = sync.OnceFunc(func() {
		k.closed = nil
		close(shots)
		<-done
		if trouble != nil {
			s.warn("the result could not be stored while the soak ran: %v", trouble)
		}
	})
}

// memory fills in what the server's metrics said of its memory in each slice.
func (k *slicer) memory(started time.Time) {
	if k.session.Telemetry == nil {
		return
	}
	for i := k.first; i < len(k.slices); i++ {
		x := &k.slices[i]
		from := started.Add(time.Duration(x.AtSeconds*float64(time.Second)) - k.offset)
		if t, ok := k.session.Telemetry.Window(from, from.Add(k.width)); ok {
			x.ResidentBytes = t.ResidentBytes
		}
	}
}
