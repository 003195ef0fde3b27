package control_test

import (
	"context"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
)

// shop serves requests first in, first out, in so many slots. Its services are drawn
// anew for every run, and the whole server is somewhat quicker or slower in each: a
// speed near the limit holds in one run and not in the next.
type shop struct {
	slots   int
	service float64   // mean, seconds
	between float64   // standard deviation of a run's factor on it
	work    []float32 // of each request of the traffic; nil: 1
	rng     *rand.Rand
	runs    int
}

// dueAt is when a request is due, in seconds.
func dueAt(a *loadgen.Arrivals, i int) float64 {
	if a.OwnPace {
		return a.At[i].Seconds()
	}
	return a.At[i].Seconds() / a.Speed
}

// waits are the seconds until the first token of every request.
func (s *shop) waits(a *loadgen.Arrivals) []float64 {
	factor := math.Exp(s.between * s.rng.NormFloat64())
	free := make([]float64, s.slots)
	out := make([]float64, len(a.At))
	for i := range a.At {
		due := dueAt(a, i)
		k := 0
		for j := range free {
			if free[j] < free[k] {
				k = j
			}
		}
		begin := max(due, free[k])
		work := 1.0
		if s.work != nil {
			prompt := i
			if a.Prompts != nil {
				prompt = int(a.Prompts[i])
			}
			work = float64(s.work[prompt%len(s.work)])
		}
		free[k] = begin + factor*s.service*work*(0.5+s.rng.Float64())
		out[i] = begin - due + 0.02
	}
	return out
}

func (s *shop) Run(_ context.Context, l loadgen.Load) (loadgen.Run, error) {
	s.runs++
	run := loadgen.Run{Load: l, Started: time.Now(), End: loadgen.EndComplete}
	for i, w := range s.waits(l.Arrivals) {
		sent := seconds(dueAt(l.Arrivals, i))
		x := loadgen.Sample{
			Index: i, PromptIndex: l.FirstPrompt + i, Conversation: -1, Ready: sent, Intended: sent, Sent: sent, WasSent: true, Streamed: true,
			FirstOutput: sent + seconds(w), LastOutput: sent + seconds(w+s.service), End: sent + seconds(w+s.service), OutputEvents: 2, OutputTokens: 2,
		}
		run.Samples = append(run.Samples, x)
		run.Elapsed = max(run.Elapsed, x.End)
		if l.OnSample(&x) {
			run.End = loadgen.EndStopped
			break
		}
	}
	return run, nil
}

// truth is the speed at which traces, each sent so many times, hold p95 TTFT as often as
// not, by brute force.
func (s *shop) truth(traces []*sweep.Traffic, how sweep.Speedup, slo float64, runs int) float64 {
	low, high := math.Log(1.0/64), math.Log(64)
	for range 14 {
		mid := (low + high) / 2
		held := 0
		for _, traffic := range traces {
			a := traffic.Arrivals(math.Exp(mid), how)
			s.work = traffic.Answers
			for range runs {
				w := s.waits(a)
				slices.Sort(w)
				if w[int(0.95*float64(len(w)))] <= slo {
					held++
				}
			}
		}
		if 2*held > runs*len(traces) {
			low = mid
		} else {
			high = mid
		}
	}
	return math.Exp((low + high) / 2)
}

// bursty is recorded traffic with a peak in its middle.
func bursty(n int, rate float64, rng *rand.Rand) *sweep.Traffic {
	t, at := &sweep.Traffic{}, 0.0
	for i := range n {
		t.At = append(t.At, seconds(at))
		r := rate
		if i > n/2 && i < 2*n/3 {
			r *= 2
		}
		at += rng.ExpFloat64() / r
	}
	return t
}

// On servers whose highest speed is known for the traffic that is sent, it lies within the
// runs' interval in at least 93 % of the answers, and that is narrow enough to be of use; whichever way
// the traffic becomes more.
func TestHeadroomIsWithinItsInterval(t *testing.T) {
	if raceDetector {
		t.Skip("hundreds of answers take minutes under the race detector, and share nothing")
	}
	for _, how := range []sweep.Speedup{sweep.Closer, sweep.MoreSessions} {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			headroomWithin(t, how)
		})
	}
}

func headroomWithin(t *testing.T, how sweep.Speedup) {
	rules := sweep.StopRules{SLO: []sweep.SLO{{Metric: "ttft", Statistic: "p95", Max: 500 * time.Millisecond}}}
	inside, all, runs, width := 0, 0, 0, 0.0
	for k, between := range []float64{0, 0.01, 0.03} {
		before := inside
		for trace := range 4 {
			rng := rand.New(rand.NewPCG(uint64(k), uint64(trace)))
			s := &shop{slots: 8, service: 0.4, between: between, rng: rng}
			traffic := bursty(400, 3+4*rng.Float64(), rng)
			traffic.Seed = uint64(trace)
			want := s.truth([]*sweep.Traffic{traffic}, how, 0.5, 301)
			for range 15 {
				c := control.Controller{Generator: s, Config: sweep.Config{}}
				s.runs = 0
				r, err := c.Answer(context.Background(), "replay", sweep.FindHeadroom{Traffic: traffic, Speedup: how, Concurrency: 4096, Rules: rules})
				if err != nil || r.Verdict != sweep.LimitFound {
					t.Fatalf("%v, %+v", err, r.Answer)
				}
				h := r.Headroom
				all, runs, width = all+1, runs+s.runs, width+h.Again.High/h.Again.Low-1
				inside += within(want, h.Again.Low, h.Again.High)
				if math.Abs(h.Rate.Or(0)/h.Speed.Or(1)/traffic.Rate()-1) > 1e-9 {
					t.Errorf("rate %s at speed %s", h.Rate, h.Speed)
				}
			}
		}
		t.Logf("%s, between %v: %d", how, between, inside-before)
	}
	t.Logf("%s: %d of %d in all within, %.1f runs and an interval of %.1f %% on average", how, inside, all, float64(runs)/float64(all), 100*width/float64(all))
	if float64(inside) < 0.93*float64(all) {
		t.Errorf("%s: within its interval in %d of %d", how, inside, all)
	}
	if mean := width / float64(all); mean > 0.16 {
		t.Errorf("%s: intervals of %.1f %% on average", how, 100*mean)
	}
}

// The queue that is simulated is the one that there would be.
func TestHeadroomForetellsTheQueue(t *testing.T) {
	rules := sweep.StopRules{SLO: []sweep.SLO{{Metric: "ttft", Statistic: "p95", Max: 500 * time.Millisecond}}}
	for k := range uint64(6) {
		s := &shop{slots: 8, service: 0.4, between: 0.01, rng: rand.New(rand.NewPCG(9, k))}
		whole := bursty(1200, 8+2*float64(k), s.rng)
		piece := &sweep.Traffic{At: whole.At[:400], Whole: whole}
		r, err := (&control.Controller{Generator: s}).Answer(context.Background(), "replay", sweep.FindHeadroom{Traffic: piece, Concurrency: 4096, Rules: rules})
		if err != nil || len(r.Headroom.Queue) != 3 || len(r.Headroom.Arrivals) != 120 {
			t.Fatalf("%v, %d, %d", err, len(r.Headroom.Queue), len(r.Headroom.Arrivals))
		}
		for _, q := range r.Headroom.Queue {
			peak, mean := 0.0, 0.0
			const runs = 15 // no two are alike
			for range runs {
				run, _ := s.Run(context.Background(), loadgen.Load{Concurrency: 4096, Requests: 1200, Rate: 1, Arrivals: &loadgen.Arrivals{At: whole.At, Speed: q.Speed}, OnSample: func(*loadgen.Sample) bool { return false }})
				step := analysis.Summarize([]loadgen.Run{run}, analysis.Options{})
				peak, mean = peak+float64(step.Whole.PeakInFlight)/runs, mean+step.Whole.MeanInFlight.Or(0)/runs
			}
			t.Logf("%d at %v x: simulated %d and %.1f, measured %.0f and %.1f", k, q.Speed, q.Peak, q.Mean, peak, mean)
			if math.Abs(float64(q.Peak)-peak) > 4+0.2*peak || math.Abs(q.Mean-mean) > 1+0.25*mean {
				t.Errorf("%d at %v x: simulated %d and %.1f in the server, measured %.0f and %.1f", k, q.Speed, q.Peak, q.Mean, peak, mean)
			}
		}
	}
}

// Asked again with the steps measured so far, it goes on where it was: resuming costs
// nothing.
func TestHeadroomResumes(t *testing.T) {
	rules := sweep.StopRules{SLO: []sweep.SLO{{Metric: "ttft", Statistic: "p95", Max: 500 * time.Millisecond}}}
	s := &shop{slots: 8, service: 0.4, between: 0.01, rng: rand.New(rand.NewPCG(3, 4))}
	q := sweep.FindHeadroom{Traffic: bursty(300, 5, s.rng), Concurrency: 4096, Rules: rules}
	r, err := (&control.Controller{Generator: s}).Answer(context.Background(), "replay", q)
	if err != nil || len(r.Steps) < 4 {
		t.Fatal(err, len(r.Steps))
	}
	if !strings.Contains(r.Sentence, "bound by p95_ttft: p95 TTFT ") {
		t.Error(r.Sentence)
	}
	again := &shop{}
	kept := *r
	kept.Complete, kept.Steps = false, slices.Clone(r.Steps)
	if r2, err := (&control.Controller{Generator: again, Result: &kept}).Answer(context.Background(), "replay", q); err != nil || again.runs > 0 || !reflect.DeepEqual(r2.Headroom, r.Headroom) {
		t.Errorf("%d runs more, %+v", again.runs, r2.Headroom)
	}
	// Of other traffic nothing is kept.
	other := q
	other.Traffic = bursty(200, 5, s.rng)
	kept.Complete = false
	if _, err := (&control.Controller{Generator: s, Result: &kept}).Answer(context.Background(), "replay", other); err != nil {
		t.Fatal(err)
	}
	for i := range kept.Steps {
		if n := kept.Steps[i].NumPrompts; n != 200 {
			t.Errorf("a step of %d requests was kept", n)
		}
	}
}
