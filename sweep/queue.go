package sweep

import (
	"math"
	"time"

	"github.com/capfind/capfind/analysis"
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
	for bin := int(math.Round(math.Log(1e-6) / serviceBin)); bin <= int(math.Round(math.Log(top)/serviceBin)); bin++ {
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

// queue follows the number in the server through arrivals. Between two of them as many
// leave as the service says, one after the other.
func (s *service) queue(at []time.Duration, scale, speed float64) Simulated {
	out := Simulated{Speed: speed}
	n, begun, now, area := 0, 0.0, 0.0, 0.0 // begun: how far the next departure is
	advance := func(until float64) {
		for now < until {
			rate := s.rate[min(n, s.top)]
			if n == 0 || rate <= 0 {
				area += float64(n) * (until - now)
				now = until
				return
			}
			took := (1 - begun) / rate
			if now+took > until {
				begun += rate * (until - now)
				area += float64(n) * (until - now)
				now = until
				return
			}
			area += float64(n) * took
			now, begun, n = now+took, 0, n-1
		}
	}
	for _, a := range at {
		advance(a.Seconds() / scale)
		n++
		if n > out.Peak {
			out.Peak, out.AtSeconds = n, now
		}
	}
	if now > 0 {
		out.Mean = area / now
	}
	out.Beyond = out.Peak > s.top
	return out
}
