package sweep

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// made is a server that is made up anew for every history: slots, a step time that
// grows, a prefill, failures, and runs that differ.
type made struct {
	rng                 *rand.Rand
	slots, slow, most   float64
	prefill, growth     float64
	fails, from, wander float64
}

func newMade(rng *rand.Rand) made {
	m := made{rng: rng, slots: math.Exp(rng.Float64() * 5), slow: rng.Float64() * 0.03, prefill: 0.01 + 0.3*rng.Float64(), growth: 0.01 * rng.Float64()}
	m.most, m.wander = 2+50*rng.Float64(), []float64{0, 0.003, 0.05, 0.2}[rng.IntN(4)]
	if rng.IntN(3) == 0 {
		m.fails, m.from = 0.02*rng.Float64(), 60*rng.Float64()
	}
	return m
}

func (m made) step(o *Order) analysis.Step {
	n := float64(o.Concurrency)
	if o.Rate > 0 {
		n = min(n, 1+o.Rate)
	}
	busy := min(n, m.slots)
	speed := math.Exp(m.wander * m.rng.NormFloat64())
	service := (1 + m.slow*busy) * speed
	l := LoadState{Residence: (m.prefill+m.growth*busy)*speed + service*n/busy, Tokens: 100, Spread: 0.3,
		Vary: func(b analysis.LevelBatch) analysis.LevelBatch {
			f := 1 + 0.01*m.rng.NormFloat64()
			b.Residence, b.TTFT, b.Decode = f*b.Residence, f*b.TTFT, f*b.Decode
			return b
		}}
	l.TTFT = l.Residence - service
	requests, failed := max(o.Requests, 200), 0
	for range requests {
		if m.rng.Float64() < m.fails*max(0, n-m.from) {
			failed++
		}
	}
	if o.Traffic != nil && o.Speed*speed > m.most/10 {
		failed = requests / 2
	}
	s := l.Step(o, requests-failed, failed)
	if o.Traffic != nil {
		s.Speed = loadgen.Known(o.Speed)
	} else if o.Rate > m.most {
		s.Backlog = &analysis.Backlog{Early: 1, Late: 500, Growth: 0.4}
		o.Hold(&s)
	}
	if m.rng.IntN(60) == 0 {
		s.Client.Limits = []string{"the client used 90 % of the CPU"}
	}
	return s
}

// everyStrategy is one of each kind.
func everyStrategy() map[string]Strategy {
	rules := DefaultStopRules()
	rules.SLO = []SLO{{Metric: "tpot", Max: 30 * time.Millisecond}}
	point := LoadPoint{Concurrency: 10, Requests: 100, Duration: time.Minute}
	return map[string]Strategy{
		"limit":       FindLimit{Config: Default(), Rules: rules, Band: DefaultBand()},
		"concurrency": FindConcurrency{Target: QPSConfig{Rate: 20}, Rules: rules, Exact: true},
		"rate":        FindRate{Arrivals: RateConfig{}, Rules: rules, Exact: true, Repeat: true},
		"headroom":    FindHeadroom{Traffic: &Traffic{At: make([]time.Duration, 100)}, Concurrency: 100, Rules: rules},
		"soak":        LongRun{Soak: SoakConfig{LoadPoint: point}, Rules: rules},
		"point":       SinglePoint{Load: point, Rules: rules},
	}
}

// Whatever was measured, the same steps give the same next order: asked again, and asked
// with what was stored and read back, which is what resuming is. And every question
// comes to an end.
func TestSameStepsSameOrder(t *testing.T) {
	for name, q := range everyStrategy() {
		histories, orders := 500, 0
		switch name { // of some fifteen orders each, and many a sum
		case "limit":
			histories = 100
		case "headroom":
			histories = 30
		}
		for seed := range histories {
			server := newMade(rand.New(rand.NewPCG(uint64(seed), 12)))
			var h History
			var asked []*Order
			for {
				o, _ := q.Next(h)
				if o == nil {
					break
				}
				asked, h.Steps = append(asked, o), append(h.Steps, server.step(o))
				if len(asked) > 200 {
					t.Fatalf("%s, history %d: no end after %d steps", name, seed, len(asked))
				}
			}
			orders += len(asked)
			again := restored(t, h)
			for k, want := range asked {
				got, _ := q.Next(History{Steps: again.Steps[:k:k]})
				if !sameOrder(got, want) {
					t.Fatalf("%s, history %d, after %d steps: %+v, the first time %+v", name, seed, k, got, want)
				}
				got.Hold(&again.Steps[k]) // as whoever resumes does
			}
			// What an interruption leaves at any moment is an answer, too.
			for k := range asked {
				if o, a := q.Next(History{Steps: h.Steps[:k], End: &End{Why: "interrupted", Unfinished: true}}); o != nil || a.Verdict != Interrupted {
					t.Fatalf("%s, history %d, ended after %d steps: order %+v, verdict %s", name, seed, k, o, a.Verdict)
				}
			}
		}
		t.Logf("%s: %d histories, %d orders", name, histories, orders)
	}
}

// restored takes a history through a result on disk.
func restored(t *testing.T, h History) History {
	t.Helper()
	data, err := json.Marshal(&Result{Command: "sweep", Answer: Answer{Steps: h.Steps}})
	var r Result
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return Measured(&r)
}

func sameOrder(a, b *Order) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Prev, y.Prev = nil, nil
	if len(a.Prev) != len(b.Prev) {
		return false
	}
	for i := range a.Prev {
		if a.Prev[i].Concurrency != b.Prev[i].Concurrency {
			return false
		}
	}
	return reflect.DeepEqual(x, y)
}

// A history is read, never written: what a strategy clears it clears in a copy.
func TestStrategiesLeaveTheHistoryAlone(t *testing.T) {
	for seed := range 40 {
		server := newMade(rand.New(rand.NewPCG(uint64(seed), 13)))
		q := everyStrategy()["limit"]
		var h History
		for {
			before, _ := json.Marshal(h.Steps)
			o, a := q.Next(h)
			if after, _ := json.Marshal(h.Steps); string(before) != string(after) {
				t.Fatalf("history %d: the steps were changed", seed)
			}
			if o == nil {
				if len(a.Steps) != len(h.Steps) {
					t.Fatalf("history %d: %d steps in the answer of %d", seed, len(a.Steps), len(h.Steps))
				}
				break
			}
			h.Steps = append(h.Steps, server.step(o))
		}
	}
}

// A key that is refused after it was accepted, and a server that refuses what it served
// before, end a sweep: they say nothing of concurrency.
func TestRefusalsEndASweep(t *testing.T) {
	for _, class := range []loadgen.Class{loadgen.Denied, loadgen.HTTP429} {
		q := FindLimit{Config: Default(), Rules: DefaultStopRules(), Band: DefaultBand()}
		var h History
		var a Answer
		ended := false
		for {
			var o *Order
			if o, a = q.Next(h); o == nil {
				break
			}
			l := LoadState{Residence: 1, TTFT: 0.1, Tokens: 100}
			s := l.Step(o, o.Requests, 0)
			if ended || o.Concurrency >= 20 { // 300 requests are through
				done := 120
				if ended {
					done = 0
				}
				ended = true
				s = l.Step(o, done, 20)
				s.Failures, s.FailureExamples = map[loadgen.Class]int{class: 20}, map[loadgen.Class]string{class: "quota exceeded"}
			}
			h.Steps = append(h.Steps, s)
			if len(h.Steps) > 12 {
				t.Fatalf("%s: the sweep goes on: %d steps", class, len(h.Steps))
			}
		}
		if a.Verdict != Interrupted || a.Limit != nil || a.Bottleneck != nil || a.Ladder.FirstBad.IsKnown() {
			t.Errorf("%s: %s, limit %v, ladder %+v: %s", class, a.Verdict, a.Limit, a.Ladder, a.Sentence)
		}
		// Gone on with under a new key, everything from there on is measured again.
		if kept := Measured(&Result{Command: "sweep", Answer: a}); len(kept.Steps) > 4 {
			t.Errorf("%s: %d of %d steps are kept", class, len(kept.Steps), len(h.Steps))
		}
	}
}

// A last step that held while this client could do no more says nothing of a limit
// further up; one in the middle of the ladder, with others beyond it, does not matter.
func TestClientLimitedAtTheLastStep(t *testing.T) {
	for limited, want := range map[int]Verdict{2: NotReached, 10: ClientLimited} {
		config := Default()
		config.Concurrency = []int{1, 2, 5, 10}
		q := FindLimit{Config: config, Rules: DefaultStopRules(), Band: DefaultBand()}
		var h History
		o, a := q.Next(h)
		for ; o != nil; o, a = q.Next(h) {
			l := LoadState{Residence: 1, TTFT: 0.1, Tokens: 100}
			s := l.Step(o, o.Requests, 0)
			if o.Concurrency == limited {
				s.Client.Limits = []string{"the CPU was busy"}
			}
			h.Steps = append(h.Steps, s)
		}
		if a.Verdict != want || a.Limit != nil {
			t.Errorf("limited at %d: %s: %s", limited, a.Verdict, a.Sentence)
		}
	}
}

// How long responses take at a rate is read off the smallest closed loop that carries it,
// whatever came first.
func TestResponseTimeOfTheClosedLoops(t *testing.T) {
	loop := func(n int, e2e float64) analysis.Step {
		return LoadState{Residence: e2e, TTFT: 0.1, Tokens: 100}.Step(&Order{Concurrency: n}, 10*n, 0)
	}
	q := RateConfig{Closed: &Result{Answer: Answer{Steps: []analysis.Step{loop(50, 5), loop(1, 1), loop(10, 2)}}}}
	for rate, want := range map[float64]float64{0.5: 1, 4: 2, 8: 5, 100: 5} {
		if got := responseTime(q.closedLoops(nil), nil, rate); got != want {
			t.Errorf("%v requests a second: %v s, want %v s", rate, got, want)
		}
	}
	if got := q.closedLoops([]analysis.Step{loop(2, 3)}); len(got) != 3 {
		t.Errorf("the looks come before the sweep: %v", got)
	}
}
