package sweep

import (
	"math"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// Simulated is how many requests would be in the server, waiting ones included, if
// all that was recorded came at a speed: a simulation, and no measurement.
type Simulated struct {
	Speed     float64 `json:"speed"`
	Peak      int     `json:"peak_in_flight"`
	Mean      float64 `json:"mean_in_flight"`  // over time
	AtSeconds float64 `json:"peak_at_seconds"` // after the first request, at that speed
	Beyond    bool    `json:"beyond_measured"` // more than any run had in flight: how the server serves so many is not known
}

// simulatedSpeeds are those that people ask about.
var simulatedSpeeds = []float64{1, 1.5, 2}

// simulate sends the traffic, all of it, past a server that serves as the one that was
// measured: none where too little was measured.
func (f FindHeadroom) simulate(steps []analysis.Step) []Simulated {
	curve := serviceOf(steps)
	if curve == nil {
		return nil
	}
	t := f.Traffic
	if t.Whole != nil {
		t = &Traffic{At: t.Whole.At, Before: t.Whole.Before, Seed: t.Seed}
	}
	var out []Simulated
	for _, speed := range simulatedSpeeds {
		if speed > MostSpeed(f.Speedup, len(t.At)) {
			break
		}
		a := t.Arrivals(speed, f.Speedup)
		out = append(out, curve.queue(a.At, a.Pace(), speed))
	}
	return out
}

// service is how many requests/s leave the server where so many are in it, by that
// number, as far as was measured. Beyond, it stays as it was at the last.
type service struct {
	rate []float64 // at 0, 1, 2 ... in it
	top  int       // most that were in it for a slice of a run
}

// Where the service is read off: slices of the runs with about as many requests in the
// server, together.
const (
	serviceBin    = 0.12 // widths of the bins, as a share
	serviceSlices = 20   // at least, of all runs
	serviceLeft   = 200  // requests that left, at least, where most were in the server
)

// serviceOf reads the service off the slices of the measured runs: in each, so many
// were in the server and so many left. What lies between is a straight line, and more
// in the server is never served more slowly: the slices are short, and a burst's
// requests leave after they came.
func serviceOf(steps []analysis.Step) *service {
	inside, left, seconds, slices, top := map[int]float64{}, map[int]float64{}, map[int]float64{}, 0, 0.0
	for i := range steps {
		series, end := steps[i].Series, 0.0
		for j := range series {
			n, known := series[j].InFlight.Value()
			width := 2 * (series[j].AtSeconds - end)
			end += width
			if !known || n <= 0 || width <= 0 || steps[i].Runs > 1 { // between runs there are gaps
				continue
			}
			bin := int(math.Round(math.Log(n) / serviceBin))
			inside[bin] += n * width
			left[bin] += float64(series[j].Completed + series[j].Failed)
			seconds[bin] += width
			slices, top = slices+1, max(top, n)
		}
	}
	if slices < serviceSlices {
		return nil
	}
	var at, rates, weights []float64
	first, last := int(math.Round(math.Log(1e-6)/serviceBin)), int(math.Round(math.Log(top)/serviceBin))
	for ; last > first && left[last] < serviceLeft; last-- { // the rate at the top is what all beyond is served at: not that of few
		inside[last-1], left[last-1], seconds[last-1] = inside[last-1]+inside[last], left[last-1]+left[last], seconds[last-1]+seconds[last]
	}
	for bin := first; bin <= last; bin++ {
		if s := seconds[bin]; s > 0 {
			at, rates, weights = append(at, inside[bin]/s), append(rates, left[bin]/s), append(weights, s)
		}
	}
	s := &service{top: int(math.Ceil(top))}
	rates = analysis.Isotonic(rates, weights)
	for n := range s.top + 1 {
		s.rate = append(s.rate, readOff(at, rates, float64(n)))
	}
	return s
}

// readOff reads a line through points off at x; from 0 to the first point it rises
// evenly.
func readOff(at, values []float64, x float64) float64 {
	x0, v0 := 0.0, 0.0
	for i := range at {
		if x <= at[i] {
			return v0 + (values[i]-v0)*(x-x0)/(at[i]-x0)
		}
		x0, v0 = at[i], values[i]
	}
	return v0
}

// line is the requests in a server over time, first in, first out.
type line struct {
	*service
	now, begun float64        // seconds; how much of the next departure is done
	n          int            // in the server
	area       float64        // of n over time
	left       func()         // hears of every departure; may be nil
	work       func() float64 // of the next departure; nil: 1
}

// advance lets time pass. Until then as many leave as the service says, one after the other.
func (l *line) advance(until float64) {
	for l.now < until {
		rate, work := l.rate[min(l.n, l.top)], 1.0
		if l.work != nil && l.n > 0 {
			work = l.work()
		}
		took := (work - l.begun) / rate // +Inf where nothing is served
		if l.n == 0 || l.now+took > until {
			if l.n > 0 {
				l.begun += rate * (until - l.now)
			}
			l.area += float64(l.n) * (until - l.now)
			l.now = until
			return
		}
		l.area += float64(l.n) * took
		l.now, l.begun, l.n = l.now+took, 0, l.n-1
		if l.left != nil {
			l.left()
		}
	}
}

// queue follows the number in the server through arrivals.
func (s *service) queue(at []time.Duration, scale, speed float64) Simulated {
	out, l := Simulated{Speed: speed}, line{service: s}
	for _, a := range at {
		l.advance(a.Seconds() / scale)
		l.n++
		if l.n > out.Peak {
			out.Peak, out.AtSeconds = l.n, l.now
		}
	}
	if l.now > 0 {
		out.Mean = l.area / l.now
	}
	out.Beyond = out.Peak > s.top
	return out
}

// times are how long the requests of some arrivals are in the server, or wait for those
// before them, in seconds; work is what each of their prompts takes.
func (s *service) times(a *loadgen.Arrivals, work []float32, waiting bool) []float64 {
	out, pace, before := make([]float64, 0, len(a.At)), a.Pace(), 0.0
	l := line{service: s}
	l.left = func() {
		due, until := a.At[len(out)].Seconds()/pace, l.now
		if waiting {
			until = max(due, before)
		}
		out, before = append(out, until-due), l.now
	}
	each := s.shared(a, work)
	l.work = func() float64 { return each[len(out)] }
	for _, at := range a.At {
		l.advance(at.Seconds() / pace)
		l.n++
	}
	for len(out) < len(a.At) { // all that came leave
		known := len(out)
		if l.advance(l.now + float64(l.n)/s.rate[s.top]); len(out) == known && s.rate[min(l.n, s.top)] <= 0 { // how so few are served is not known
			l.left()
			l.n--
		}
	}
	return out
}

// shared is the work that the departures of some arrivals take. As many as the server
// serves at once share it: a long one holds up its own place, and not all behind it.
func (s *service) shared(a *loadgen.Arrivals, work []float32) []float64 {
	const full = 0.9 // of the highest rate: more at once bring little
	atOnce := 1
	for atOnce < s.top && s.rate[atOnce] < full*s.rate[s.top] {
		atOnce++
	}
	out, sum := make([]float64, len(a.At)), 0.0
	of := func(i int) float64 {
		if a.Prompts != nil {
			i = int(a.Prompts[i])
		}
		return float64(work[i%len(work)])
	}
	for i := len(out) - 1; i >= 0; i-- {
		sum += of(i)
		if i+atOnce < len(out) {
			sum -= of(i + atOnce)
		}
		out[i] = sum / float64(min(atOnce, len(out)-i))
	}
	return out
}
