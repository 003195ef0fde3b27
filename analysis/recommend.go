package analysis

import (
	"fmt"
	"math"

	"github.com/capfind/capfind/loadgen"
)

// Recommendation is what production should be set to, in requests in flight.
type Recommendation struct {
	Low       Number   `json:"low"`
	High      Number   `json:"high"`
	BurstSafe Number   `json:"burst_safe"` // for Poisson arrivals: the mean that keeps bursts below the limit
	Reasons   []string `json:"reasons"`
}

// Band is the share of the limit that production should be set to.
type Band struct {
	Low  float64 `yaml:"low" json:"low"`   // share of the limit, lower end of the band
	High float64 `yaml:"high" json:"high"` // share of the limit, upper end of the band
}

// smallLimit is the limit below which 70-80 % of it leaves no room for bursts.
const smallLimit = 16

// Recommend gives the band of the limit (the guide's 70-80 %) in whole numbers,
// rounded down, at least 1 and never above a step that passed. Where the limit
// was not reached, the largest concurrency that held stands in for it.
func Recommend(limit Limit, band Band, steps []Step) Recommendation {
	var r Recommendation
	say := func(format string, args ...any) { r.Reasons = append(r.Reasons, fmt.Sprintf(format, args...)) }
	n, found := limit.Concurrency.Value()
	if !found {
		var held bool
		if n, held = limit.AtLeast.Value(); !held {
			say("no concurrency held, so there is nothing to recommend")
			return r
		}
		say("no limit was reached: this is a share of %.0f, the largest concurrency that held, and the server may take more", n)
	}
	if n < 1 {
		say("the limit is below 1 request in flight, so there is nothing to recommend")
		return r
	}
	low, high := max(1, whole(band.Low*n)), max(1, whole(band.High*n))
	say("%.0f-%.0f %% of %s is %d-%d", 100*band.Low, 100*band.High, number(n), low, high)
	if top, ok := largestPassed(steps); ok && high > top {
		low, high = min(low, top), top
		say("held at %d: nothing above it was seen to pass", top)
	}
	safe := BurstSafe(n)
	r.Low, r.High, r.BurstSafe = loadgen.Known(float64(low)), loadgen.Known(float64(high)), loadgen.Known(float64(safe))
	if safe < 1 {
		say("no mean of random arrivals keeps bursts below %s in flight", number(n))
		return r
	}
	say("where requests arrive at random (Poisson), bursts stay below %s in flight up to a mean of %d", number(n), safe)
	if n < smallLimit {
		say("below a limit of %d the flat %.0f-%.0f %% leaves no room for bursts: with random arrivals stay at %d",
			smallLimit, 100*band.Low, 100*band.High, safe)
	} else if safe < high {
		say("with random arrivals %d, not %d, is the safe upper end", safe, high)
	}
	return r
}

// BurstSafe is the mean number in flight at which Poisson arrivals stay below
// limit about as surely as one-sided 95 %: (sqrt(N + 0.68) - 0.82)^2, rounded
// down: 56 % of a limit of 8, 75 % of 32, 90 % of 256. A Poisson count's square
// root has a standard deviation of 1/2, so 0.82 is 1.645 of them.
func BurstSafe(limit float64) int {
	root := math.Sqrt(max(limit, 0)+0.68) - 0.82
	return whole(root * root)
}

// whole rounds down, forgiving the last bits of a product such as 0.7 * 10.
func whole(v float64) int { return int(math.Floor(v + 1e-9)) }

func largestPassed(steps []Step) (int, bool) {
	top, ok := 0, false
	for i := range steps {
		if steps[i].Passed() && !steps[i].ClientLimited() {
			top, ok = max(top, steps[i].Concurrency), true
		}
	}
	return top, ok
}
