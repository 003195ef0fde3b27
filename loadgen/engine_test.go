package loadgen

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeDoer answers after a time of its own choosing, and watches concurrency.
type fakeDoer struct {
	service       func(first Sample) time.Duration
	class         func(first Sample) (Class, time.Duration)
	turns         int
	now, most     atomic.Int64
	calls         atomic.Int64
	failMeasuring error
}

func (f *fakeDoer) Do(ctx context.Context, start time.Time, s Sample, emit func(*Sample)) error {
	f.calls.Add(1)
	if f.failMeasuring != nil {
		return f.failMeasuring
	}
	n := f.now.Add(1)
	defer f.now.Add(-1)
	for {
		most := f.most.Load()
		if n <= most || f.most.CompareAndSwap(most, n) {
			break
		}
	}
	for turn := range max(f.turns, 1) {
		s.Turn = turn
		s.Sent, s.WasSent = time.Since(start), true
		timer := time.NewTimer(f.service(s))
		select {
		case <-timer.C:
			if f.class != nil {
				s.Class, s.RetryAfter = f.class(s)
			}
		case <-ctx.Done():
			timer.Stop()
			s.Class = Cancelled
		}
		if s.Class == Success {
			s.OutputTokens = 7
		}
		s.End = time.Since(start)
		emit(&s)
		if s.Class != Success {
			return nil
		}
	}
	return nil
}

func constant(d time.Duration) func(Sample) time.Duration {
	return func(Sample) time.Duration { return d }
}

// run runs a load under fake time and fails the test on an error.
func run(t *testing.T, d Doer, load Load) Run {
	t.Helper()
	var r Run
	synctest.Test(t, func(t *testing.T) {
		var err error
		if r, err = NewEngine(d).Run(t.Context(), load); err != nil {
			t.Fatal(err)
		}
	})
	return r
}

// indexes checks that every number from 0 on was given exactly once.
func indexes(t *testing.T, r Run, want int) {
	t.Helper()
	seen := make(map[int]bool)
	for i := range r.Samples {
		s := &r.Samples[i]
		if seen[s.Index] {
			t.Errorf("request %d was counted twice", s.Index)
		}
		seen[s.Index] = true
		if s.Index < 0 || s.Index >= want {
			t.Errorf("request %d of %d", s.Index, want)
		}
		if s.Intended > s.Ready || s.WasSent && s.Ready > s.Sent || s.Sent > s.End {
			t.Errorf("request %d: moments out of order: %+v", s.Index, s)
		}
	}
	if len(seen) != want {
		t.Errorf("%d requests counted, want %d", len(seen), want)
	}
}

func TestClosedLoopKeepsExactlyNInFlight(t *testing.T) {
	d := &fakeDoer{service: func(s Sample) time.Duration { return time.Duration(100+s.Index%7*10) * time.Millisecond }}
	r := run(t, d, Load{Concurrency: 8, Requests: 200, FirstPrompt: 1000})
	indexes(t, r, 200)
	if d.most.Load() != 8 || r.End != EndComplete {
		t.Errorf("%d in flight at most, end %s", d.most.Load(), r.End)
	}
	// Every slot is refilled at the very moment it was freed: the slots' busy
	// times fill the run but for its end.
	busy := time.Duration(0)
	for i := range r.Samples {
		s := &r.Samples[i]
		busy += s.End - s.Sent
		if s.Sent != s.Ready || s.Intended != s.Ready || s.PromptIndex != 1000+s.Index || s.Conversation != -1 || s.CachedTokens != -1 {
			t.Errorf("sample %+v", s)
		}
		if i > 0 && s.End < r.Samples[i-1].End {
			t.Error("samples are not in order of completion")
		}
	}
	if idle := 8*r.Elapsed - busy; idle > 8*160*time.Millisecond {
		t.Errorf("slots idled for %v of %v", idle, r.Elapsed)
	}
	if got := r.Health.DispatchP99Seconds.Or(-1); got > 1e-6 {
		t.Errorf("dispatch delay %v", got)
	}
}

func TestStaggerSpreadsTheStart(t *testing.T) {
	for _, test := range []struct {
		start StartMode
		want  []time.Duration
	}{
		{StartBurst, []time.Duration{0, 0, 0, 0}},
		{"", []time.Duration{0, 0, 0, 0}},
		{StartStagger, []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond}},
	} {
		d := &fakeDoer{service: constant(time.Second)}
		r := run(t, d, Load{Concurrency: 4, Requests: 8, Start: test.start, StaggerOver: time.Second})
		indexes(t, r, 8)
		for i := range r.Samples[:4] {
			if s := r.Samples[i]; s.Sent != test.want[i] {
				t.Errorf("start %q: request %d sent at %v, want %v", test.start, i, s.Sent, test.want[i])
			}
		}
	}
}

func TestStaggerEndsWithTheRequests(t *testing.T) {
	d := &fakeDoer{service: constant(time.Millisecond)}
	r := run(t, d, Load{Concurrency: 10, Requests: 10, Start: StartStagger, StaggerOver: time.Hour})
	indexes(t, r, 10)
	if r.Elapsed > time.Second {
		t.Errorf("ended after %v: idle workers sat out their stagger", r.Elapsed)
	}
}

func TestHoldAfterError(t *testing.T) {
	for _, test := range []struct {
		name       string
		class      Class
		retryAfter time.Duration
		load       Load
		want       time.Duration // between the first end and the second start
	}{
		{"success", Success, 0, Load{ErrorHold: time.Second}, 0},
		{"plain hold", HTTP5xx, 0, Load{ErrorHold: 500 * time.Millisecond}, 500 * time.Millisecond},
		{"Retry-After says longer", HTTP429, 2 * time.Second, Load{ErrorHold: 500 * time.Millisecond}, 2 * time.Second},
		{"Retry-After says shorter", HTTP429, 100 * time.Millisecond, Load{ErrorHold: 500 * time.Millisecond}, 500 * time.Millisecond},
		{"Retry-After is capped", HTTP429, time.Hour, Load{MaxHold: 3 * time.Second}, 3 * time.Second},
		{"default cap", HTTP429, time.Hour, Load{}, 30 * time.Second},
		{"client's own fault", ClientLimit, 0, Load{ErrorHold: 500 * time.Millisecond}, 500 * time.Millisecond},
		{"no hold in an open loop", HTTP429, time.Hour, Load{Rate: 1, Burstiness: math.Inf(1)}, 990 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := &fakeDoer{service: constant(10 * time.Millisecond), class: func(Sample) (Class, time.Duration) { return test.class, test.retryAfter }}
			test.load.Concurrency, test.load.Requests = 1, 2
			r := run(t, d, test.load)
			indexes(t, r, 2)
			if got := r.Samples[1].Sent - r.Samples[0].End; got != test.want {
				t.Errorf("held for %v, want %v", got, test.want)
			}
		})
	}
}

// A worker that holds keeps its slot: nobody else may use it.
func TestHeldWorkerKeepsItsSlot(t *testing.T) {
	d := &fakeDoer{service: constant(100 * time.Millisecond), class: func(s Sample) (Class, time.Duration) {
		if s.Index == 0 {
			return HTTP429, 10 * time.Second
		}
		return Success, 0
	}}
	r := run(t, d, Load{Concurrency: 2, Requests: 50})
	indexes(t, r, 50)
	// One worker alone: 49 requests after one another, less none for the held one.
	if r.Elapsed != 4900*time.Millisecond {
		t.Errorf("elapsed %v, want 4.9 s", r.Elapsed)
	}
}

func TestOnSampleStops(t *testing.T) {
	count := 0
	d := &fakeDoer{service: func(s Sample) time.Duration { return time.Duration(s.Index+1) * time.Second }}
	r := run(t, d, Load{Concurrency: 10, Requests: 100, OnSample: func(s *Sample) bool { count++; return count == 3 }})
	indexes(t, r, len(r.Samples))
	classes := map[Class]int{}
	for _, s := range r.Samples {
		classes[s.Class]++
	}
	if r.End != EndStopped || classes[Success] != 3 || classes[Cancelled] != int(d.calls.Load())-3 || count != len(r.Samples) {
		t.Errorf("end %s, classes %v, OnSample called %d times, %d requests", r.End, classes, count, d.calls.Load())
	}
	if r.Elapsed != 3*time.Second {
		t.Errorf("stopped at %v", r.Elapsed)
	}
}

func TestDrainLetsRequestsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drain := make(chan struct{})
		d := &fakeDoer{service: constant(time.Second)}
		time.AfterFunc(2500*time.Millisecond, func() { close(drain) })
		r, err := NewEngine(d).Run(t.Context(), Load{Concurrency: 4, Requests: 1000, Drain: drain})
		if err != nil || r.End != EndDrained || len(r.Samples) != 12 || r.Elapsed != 3*time.Second {
			t.Errorf("end %s with %d samples after %v, %v", r.End, len(r.Samples), r.Elapsed, err)
		}
		for _, s := range r.Samples {
			if s.Class != Success {
				t.Errorf("class %s", s.Class)
			}
		}
	})
}

func TestDrainEndsAHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drain := make(chan struct{})
		d := &fakeDoer{service: constant(time.Second), class: func(Sample) (Class, time.Duration) { return HTTP429, 20 * time.Second }}
		time.AfterFunc(2*time.Second, func() { close(drain) })
		began := time.Now()
		r, err := NewEngine(d).Run(t.Context(), Load{Concurrency: 1, Requests: 10, Drain: drain})
		if err != nil || r.End != EndDrained || time.Since(began) != 2*time.Second {
			t.Errorf("end %s after %v, %v", r.End, time.Since(began), err)
		}
	})
}

func TestCancelledContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		d := &fakeDoer{service: constant(time.Second)}
		r, err := NewEngine(d).Run(ctx, Load{Concurrency: 3, Requests: 100})
		if err != nil || r.End != EndCancelled || len(r.Samples) != 6 || r.Elapsed != 1500*time.Millisecond {
			t.Errorf("end %s with %d samples after %v, %v", r.End, len(r.Samples), r.Elapsed, err)
		}
	})
}

func TestDurationBoundsIssuing(t *testing.T) {
	for _, load := range []Load{
		{Concurrency: 2, Duration: 10 * time.Second},
		{Concurrency: 2, Duration: 10 * time.Second, Requests: 1000},
		{Concurrency: 2, Duration: 10 * time.Second, Rate: 1000},
	} {
		d := &fakeDoer{service: constant(3 * time.Second)}
		r := run(t, d, load)
		indexes(t, r, 8)
		if r.End != EndComplete || r.Elapsed < 12*time.Second || r.Elapsed > 12100*time.Millisecond {
			t.Errorf("%+v: end %s after %v", load, r.End, r.Elapsed)
		}
	}
}

func TestDoErrorEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("the data set is gone")
		d := &fakeDoer{failMeasuring: gone, service: constant(time.Second)}
		_, err := NewEngine(d).Run(t.Context(), Load{Concurrency: 4, Requests: 100})
		if !errors.Is(err, gone) || d.calls.Load() > 4 {
			t.Errorf("error %v after %d calls", err, d.calls.Load())
		}
	})
}

// silentDoer breaks its contract.
type silentDoer struct{}

func (silentDoer) Do(context.Context, time.Time, Sample, func(*Sample)) error { return nil }

func TestEveryRequestIsCounted(t *testing.T) {
	r := run(t, silentDoer{}, Load{Concurrency: 2, Requests: 5})
	indexes(t, r, 5)
	if r.Samples[0].Class == Success {
		t.Error("a request without a sample counts as success")
	}
}

func TestConversationTurnsAreNumbered(t *testing.T) {
	d := &fakeDoer{service: constant(time.Second), turns: 3}
	p := &Progress{}
	r := run(t, d, Load{Concurrency: 2, Requests: 4, Progress: p})
	indexes(t, r, 12)
	if p.Sent.Load() != 12 || p.Succeeded.Load() != 12 || p.InFlight.Load() != 0 || p.OutputTokens.Load() != 84 {
		t.Errorf("progress %+v", p)
	}
}

func TestProgressAndDropSamples(t *testing.T) {
	p := &Progress{}
	var seen atomic.Int64
	d := &fakeDoer{service: constant(time.Second), class: func(s Sample) (Class, time.Duration) {
		if s.Index%4 == 0 {
			return HTTP5xx, 0
		}
		return Success, 0
	}}
	r := run(t, d, Load{Concurrency: 5, Requests: 40, Progress: p, DropSamples: true, OnSample: func(*Sample) bool { seen.Add(1); return false }})
	if len(r.Samples) != 0 || seen.Load() != 40 || p.Sent.Load() != 40 || p.Succeeded.Load() != 30 || p.Failed.Load() != 10 || p.InFlight.Load() != 0 {
		t.Errorf("%d samples kept, %d seen, progress %+v", len(r.Samples), seen.Load(), p)
	}
	if !r.Health.DispatchP99Seconds.IsKnown() {
		t.Error("no health without samples")
	}
}

// actual concurrency = min(max_concurrency, rate x mean response time)
func TestOpenLoop(t *testing.T) {
	for _, test := range []struct {
		cap  int
		want float64 // requests in flight, on the time average
	}{{100, 20}, {5, 5}} {
		d := &fakeDoer{service: constant(2 * time.Second)}
		r := run(t, d, Load{Concurrency: test.cap, Requests: 400, Rate: 10, Burstiness: math.Inf(1)})
		indexes(t, r, 400)
		var busy time.Duration
		for _, s := range r.Samples {
			busy += s.End - s.Sent
			if want := time.Duration(s.Index) * 100 * time.Millisecond; s.Intended != want {
				t.Errorf("request %d intended at %v, want %v", s.Index, s.Intended, want)
			}
		}
		if got := busy.Seconds() / r.Elapsed.Seconds(); math.Abs(got/test.want-1) > 0.05 {
			t.Errorf("cap %d: %.2f in flight, want %.2f", test.cap, got, test.want)
		}
		if lag := r.Health.ScheduleLagP99Seconds.Or(-1); lag > 1e-6 {
			t.Errorf("cap %d: schedule lag %v, though only slots were short", test.cap, lag)
		}
	}
}

type preparing struct {
	fakeDoer
	mu       sync.Mutex
	prepared []int
}

func (p *preparing) Prepare(_ context.Context, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prepared = append(p.prepared, n)
	time.Sleep(time.Minute) // before the clock: it shows nowhere
}

func TestPrepareComesBeforeTheClock(t *testing.T) {
	p := &preparing{fakeDoer: fakeDoer{service: constant(time.Second)}}
	r := run(t, p, Load{Concurrency: 50, Requests: 20})
	run(t, p, Load{Concurrency: 1000, Requests: 20, Rate: 2.5})
	if p.prepared[1] != 3 {
		t.Errorf("prepared %v for 2.5 requests a second", p.prepared)
	}
	p.prepared = p.prepared[:1]
	if len(p.prepared) != 1 || p.prepared[0] != 20 || r.Elapsed != time.Second || r.Samples[0].Ready != 0 {
		t.Errorf("prepared %v, elapsed %v", p.prepared, r.Elapsed)
	}
}

// Recorded requests are sent when they came, at the speed asked for.
func TestRecordedArrivals(t *testing.T) {
	second := time.Second
	at := []time.Duration{0, second, second, 4 * second, 10 * second}
	for _, speed := range []float64{0, 1, 2, 0.5} {
		d := &fakeDoer{service: constant(3 * second)}
		r := run(t, d, Load{Concurrency: 10, Requests: len(at), Rate: 1, FirstPrompt: 20, Arrivals: &Arrivals{At: at, Speed: speed}})
		if r.End != EndComplete || len(r.Samples) != len(at) {
			t.Fatalf("speed %v: %d samples, %s", speed, len(r.Samples), r.End)
		}
		for _, s := range r.Samples {
			want := at[s.PromptIndex-20]
			if speed > 0 {
				want = time.Duration(float64(want) / speed)
			}
			if s.Intended != want || s.Sent != want {
				t.Errorf("speed %v: request %d sent at %v, meant for %v, want %v", speed, s.PromptIndex-20, s.Sent, s.Intended, want)
			}
		}
	}
}

// Of more sessions the times are as they are, whatever the speed is called, and every
// request is its own prompt.
func TestArrivalsAtTheirOwnPace(t *testing.T) {
	at := []time.Duration{0, time.Second, 4 * time.Second}
	prompts := []int32{3, 0, 4}
	r := run(t, &fakeDoer{service: constant(time.Second)}, Load{Concurrency: 10, Requests: 3, Rate: 1, FirstPrompt: 20, Arrivals: &Arrivals{At: at, Speed: 2, OwnPace: true, Prompts: prompts}})
	if len(r.Samples) != 3 {
		t.Fatalf("%d samples", len(r.Samples))
	}
	for i, s := range r.Samples {
		if s.Intended != at[i] || s.Sent != at[i] || s.PromptIndex != 20+int(prompts[i]) {
			t.Errorf("request %d: prompt %d at %v, meant for %v", i, s.PromptIndex, s.Sent, s.Intended)
		}
	}
}

// A request of a session waits for the answer to the one before it, and for nothing
// else; whenever it is sent, it is the prompt that it was.
func TestSessionsWait(t *testing.T) {
	second := time.Second
	arrivals := &Arrivals{
		At:     []time.Duration{0, second, 2 * second, 3 * second, 20 * second},
		Before: []int32{-1, 0, -1, 1, 3},
	}
	d := &fakeDoer{service: func(s Sample) time.Duration {
		if s.PromptIndex == 1 { // it fails after a while: the session goes on
			return second / 2
		}
		return 5 * second
	}, class: func(s Sample) (Class, time.Duration) {
		if s.PromptIndex == 1 {
			return HTTP5xx, 0
		}
		return Success, 0
	}}
	// The duration ends a run that waits for nobody.
	r := run(t, d, Load{Concurrency: 10, Requests: 5, Rate: 1, Arrivals: arrivals, Duration: time.Hour})
	want := []time.Duration{0, 5 * second, 2 * second, 5*second + second/2, 20 * second}
	if len(r.Samples) != 5 || r.End != EndComplete {
		t.Fatalf("%d samples, %s", len(r.Samples), r.End)
	}
	indexes(t, r, 5)
	for _, s := range r.Samples {
		if w := want[s.PromptIndex]; s.Sent != w || s.Intended != w {
			t.Errorf("request %d sent at %v, meant for %v, want %v", s.PromptIndex, s.Sent, s.Intended, w)
		}
	}
}

// A session whose predecessor is never answered keeps the end of the run from nobody.
func TestSessionsEndWithTheRun(t *testing.T) {
	arrivals := &Arrivals{At: []time.Duration{0, time.Second, 2 * time.Second}, Before: []int32{-1, 0, 1}}
	synctest.Test(t, func(t *testing.T) {
		drain := make(chan struct{})
		d := &fakeDoer{service: constant(time.Hour)}
		time.AfterFunc(10*time.Second, func() { close(drain) })
		r, err := NewEngine(d).Run(t.Context(), Load{Concurrency: 1, Requests: 3, Rate: 1, Arrivals: arrivals, Drain: drain})
		if err != nil || r.End != EndDrained || len(r.Samples) != 1 {
			t.Errorf("%d samples, %s, %v", len(r.Samples), r.End, err)
		}
	})
}

func TestRecordedArrivalsMustFit(t *testing.T) {
	for _, load := range []Load{
		{Concurrency: 1, Requests: 2, Rate: 1, Arrivals: &Arrivals{At: make([]time.Duration, 3)}},
		{Concurrency: 1, Requests: 2, Rate: 1, Arrivals: &Arrivals{At: make([]time.Duration, 2), Before: []int32{-1}}},
		{Concurrency: 1, Requests: 2, Rate: 1, Arrivals: &Arrivals{At: make([]time.Duration, 2), Prompts: []int32{1}}},
	} {
		if _, err := NewEngine(&fakeDoer{}).Run(t.Context(), load); err == nil {
			t.Errorf("%+v was run", load)
		}
	}
}
