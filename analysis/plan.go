package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/capfind/capfind/loadgen"
)

// Demand is a load to be carried. Exactly one of Users, QPS and Concurrency is
// above zero.
type Demand struct {
	Users        float64 `json:"users"`         // people, each waiting for an answer or thinking
	ThinkSeconds float64 `json:"think_seconds"` // between an answer and the next question, with Users
	QPS          float64 `json:"qps"`           // requests/s
	Concurrency  float64 `json:"concurrency"`   // requests in flight
}

// Sizing is what a plan assumes beside the measurement.
type Sizing struct {
	Growth       float64 // factor on the demand; the guide's is 1.5
	Spare        int     // replicas beyond those needed
	PricePerHour float64 // of one replica; 0: no costs
	Currency     string  // printed with costs; empty: $
	Concurrency  int     // in flight per replica; 0: the recommendation's upper end, or the burst-safe figure where that is lower
	Curve        *Curve  // of the throughputs; nil, or one that claims no model: straight lines between the steps
}

// DefaultSizing returns the guide's growth and no spare replica.
func DefaultSizing() Sizing { return Sizing{Growth: 1.5, Currency: "$"} }

// hoursPerMonth is a year's hours over twelve.
const hoursPerMonth = 730

// Replica is what one replica carries at the concurrency it is planned for.
type Replica struct {
	Concurrency       Number `json:"concurrency"`
	RequestThroughput Number `json:"request_throughput"`
	OutputThroughput  Number `json:"output_throughput"`
	ResidenceSeconds  Number `json:"residence_seconds"`
	BurstSafe         Number `json:"burst_safe"` // mean in flight at which random arrivals stay below the limit
}

// PlanRow is the answer for one demand.
type PlanRow struct {
	Demand Demand `json:"demand"`
	// QPS and InFlight are the demand itself, without growth.
	QPS      Number `json:"qps"`
	InFlight Number `json:"in_flight"`
	Replicas Number `json:"replicas"` // spare ones included
	Spare    int    `json:"spare"`
	// LoadPerReplica is requests/s on each replica that is not spare at the grown
	// demand, InFlightPerReplica what that keeps in flight there.
	LoadPerReplica     Number `json:"load_per_replica"`
	InFlightPerReplica Number `json:"in_flight_per_replica"`
	BurstSafe          bool   `json:"burst_safe"` // in flight per replica is at most the burst-safe figure
	CostPerHour        Number `json:"cost_per_hour"`
	CostPerMonth       Number `json:"cost_per_month"`
	// CostPerMillion is per million output tokens at the demand itself, all
	// replicas paid for.
	CostPerMillion Number `json:"cost_per_million_output_tokens"`
	Refusal        string `json:"refusal"` // why there is no answer; empty otherwise
}

// Plan says how many replicas carry a load.
type Plan struct {
	Replica Replica `json:"replica"`
	// CostPerMillion is per million output tokens of a replica that is fully used:
	// price per hour / (3600 x tokens/s) x 1e6.
	CostPerMillion Number    `json:"cost_per_million_output_tokens"`
	Currency       string    `json:"currency"`
	Rows           []PlanRow `json:"rows"`
	Assumptions    []string  `json:"assumptions"`
	Refusals       []string  `json:"refusals"` // why there is no plan at all
}

// PlanReplicas sizes a deployment from a sweep's steps and recommendation. With X
// the throughput and R the time in system of a replica at its planned
// concurrency: users U with think time Z make X = U/(R+Z) requests/s and keep
// U R/(R+Z) in flight (the interactive response time law); replicas =
// ceil(rate x growth / X) + spare. It refuses what was not measured: a
// concurrency above every step that passed or below the first one.
func PlanReplicas(steps []Step, rec Recommendation, demands []Demand, z Sizing) Plan {
	if z.Growth <= 0 {
		z.Growth = DefaultSizing().Growth
	}
	p := Plan{Currency: cmp.Or(z.Currency, DefaultSizing().Currency)}
	n, why := plannedConcurrency(rec, z)
	if why != "" {
		p.Refusals = append(p.Refusals, why)
		return p
	}
	c := newCapacity(steps)
	c.curve = z.Curve
	at, why := c.at(n)
	if why != "" {
		p.Refusals = append(p.Refusals, why)
		return p
	}
	p.Replica = Replica{Concurrency: loadgen.Known(n), RequestThroughput: loadgen.Known(n / at.residence),
		OutputThroughput: loadgen.Known(n / at.residence * at.tokens), ResidenceSeconds: loadgen.Known(at.residence), BurstSafe: rec.BurstSafe}
	if z.PricePerHour > 0 && at.tokens > 0 {
		p.CostPerMillion = loadgen.Known(z.PricePerHour / (3600 * p.Replica.OutputThroughput.Or(0)) * 1e6)
	}
	for _, d := range demands {
		p.Rows = append(p.Rows, p.row(c, d, at, z))
	}
	p.Assumptions = p.assume(z, rec, n)
	return p
}

// plannedConcurrency is what each replica is to keep in flight.
func plannedConcurrency(rec Recommendation, z Sizing) (n float64, refusal string) {
	if z.Concurrency > 0 {
		return float64(z.Concurrency), ""
	}
	high, ok := rec.High.Value()
	if !ok {
		return 0, "the result recommends no concurrency, so there is nothing to plan with"
	}
	if safe, ok := rec.BurstSafe.Value(); ok && safe >= 1 {
		high = min(high, safe)
	}
	return high, ""
}

func (p *Plan) row(c *capacity, d Demand, at capacityPoint, z Sizing) PlanRow {
	r := PlanRow{Demand: d, Spare: z.Spare}
	n, x := p.Replica.Concurrency.Or(0), p.Replica.RequestThroughput.Or(0)
	rate, inFlight := 0.0, 0.0
	switch {
	case !d.valid():
		r.Refusal = "a demand is a number of users, of requests per second or of requests in flight: give one of them, above 0"
		return r
	case d.Users > 0:
		rate = d.Users / (at.residence + d.ThinkSeconds)
		inFlight = rate * at.residence
	case d.QPS > 0:
		rate, inFlight = d.QPS, d.QPS*at.residence
	default:
		rate, inFlight = d.Concurrency/at.residence, d.Concurrency
	}
	// A ratio that is whole but for rounding must not cost a replica.
	needed := math.Max(1, math.Ceil(rate*z.Growth/x-1e-9))
	replicas := needed + float64(z.Spare)
	each := rate * z.Growth / needed
	r.QPS, r.InFlight, r.Replicas = loadgen.Known(rate), loadgen.Known(inFlight), loadgen.Known(replicas)
	r.LoadPerReplica = loadgen.Known(each)
	r.InFlightPerReplica = loadgen.Known(min(c.inFlight(each, n), n))
	safe, ok := p.Replica.BurstSafe.Value()
	r.BurstSafe = ok && r.InFlightPerReplica.Or(0) <= safe
	if z.PricePerHour > 0 {
		r.CostPerHour = loadgen.Known(replicas * z.PricePerHour)
		r.CostPerMonth = loadgen.Known(replicas * z.PricePerHour * hoursPerMonth)
		if at.tokens > 0 {
			r.CostPerMillion = loadgen.Known(replicas * z.PricePerHour / (3600 * rate * at.tokens) * 1e6)
		}
	}
	return r
}

// valid reports whether exactly one quantity is given and none is negative.
func (d Demand) valid() bool {
	given := 0
	for _, v := range []float64{d.Users, d.QPS, d.Concurrency} {
		if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
		if v > 0 {
			given++
		}
	}
	return given == 1 && d.ThinkSeconds >= 0 && !math.IsInf(d.ThinkSeconds, 0)
}

func (p *Plan) assume(z Sizing, rec Recommendation, n float64) []string {
	why := "as asked"
	if z.Concurrency == 0 {
		why = "the upper end of the recommended band"
		if n < rec.High.Or(n) {
			why = fmt.Sprintf("the burst-safe figure, for it is below %s, the upper end of the recommended band", rec.High)
		}
	}
	r := &p.Replica
	spare := "no spare replica is added"
	switch {
	case z.Spare == 1:
		spare = "1 spare replica is added"
	case z.Spare > 1:
		spare = fmt.Sprintf("%d spare replicas are added", z.Spare)
	}
	keeps := number(n) + " requests"
	if n == 1 {
		keeps = "1 request"
	}
	out := []string{
		fmt.Sprintf("each replica keeps %s in flight (%s) and then serves %s requests/s, each in %s s", keeps, why, r.RequestThroughput.Format(2), r.ResidenceSeconds.Format(2)),
		fmt.Sprintf("the demand is multiplied by %g for growth before it is spread over the replicas, and %s", z.Growth, spare),
		"all replicas are alike, the load is spread evenly over them, and it looks like the measured workload (lengths of prompts and answers)",
	}
	if slices.ContainsFunc(p.Rows, func(r PlanRow) bool { return r.Demand.Users > 0 }) {
		out = append(out, "users wait for their answer before they think again; response times are those at the planned concurrency, a quieter replica answers sooner")
	}
	if z.PricePerHour > 0 {
		out = append(out, fmt.Sprintf("a replica costs %s%g an hour, used or not; a month has %d hours", p.Currency, z.PricePerHour, hoursPerMonth))
	}
	return out
}

// capacity is what a replica was measured to do, by concurrency.
type capacity struct {
	curve   *Curve          // may be nil
	points  []capacityPoint // ascending concurrency, one each
	invalid []int           // steps that passed but whose figures break a law
}

type capacityPoint struct{ n, residence, tokens float64 }

// ratesHold reports whether a step's rates of requests mean what they say, however
// its tokens were counted.
func ratesHold(s *Step) bool {
	return !slices.ContainsFunc(s.Validity, func(c Check) bool {
		return !c.OK && c.Check != checkTokenCount && c.Check != checkChunkTokens
	})
}

// newCapacity takes the steps that passed and whose figures hold.
func newCapacity(steps []Step) *capacity {
	c := &capacity{}
	sorted := slices.Clone(steps)
	slices.SortStableFunc(sorted, func(a, b Step) int { return cmp.Compare(a.Concurrency, b.Concurrency) })
	runs := 0
	for i := range sorted {
		s := &sorted[i]
		sum := s.Verdict()
		x, ok := sum.RequestThroughput.Value()
		if !ok || x <= 0 || !s.Passed() || s.RequestRate.IsKnown() {
			continue
		}
		if s.ClientLimited() || !ratesHold(s) {
			c.invalid = append(c.invalid, s.Concurrency)
			continue
		}
		p := capacityPoint{n: float64(s.Concurrency), residence: float64(s.Concurrency) / x}
		if sum.Completed > 0 {
			p.tokens = float64(sum.OutputTokens) / float64(sum.Completed)
		}
		last := len(c.points) - 1
		if last < 0 || c.points[last].n != p.n {
			c.points, runs = append(c.points, p), 1
			continue
		}
		runs++
		q := &c.points[last]
		q.residence += (p.residence - q.residence) / float64(runs)
		q.tokens += (p.tokens - q.tokens) / float64(runs)
	}
	return c
}

// at interpolates linearly in the time in system, which is exact where each
// request slows the others evenly and where a queue grows. Where a curve is claimed
// it tells the time in system: between two steps there may be a knee, which no straight
// line knows.
func (c *capacity) at(n float64) (capacityPoint, string) {
	p, why := c.between(n)
	if c.curve != nil && why == "" {
		if x, ok := c.curve.Throughput(n).Value(); ok && x > 0 {
			p.residence = n / x
		}
	}
	return p, why
}

func (c *capacity) between(n float64) (capacityPoint, string) {
	beside := ""
	if len(c.invalid) > 0 {
		beside = fmt.Sprintf(" (the steps at %v passed, but their figures do not hold)", c.invalid)
	}
	if len(c.points) == 0 {
		return capacityPoint{}, "no step passed with figures that hold, so nothing is known of a replica" + beside
	}
	low, high := c.points[0], c.points[len(c.points)-1]
	if n > high.n {
		return capacityPoint{}, fmt.Sprintf("%s in flight per replica is above %s, the largest concurrency that was measured to pass%s: measure there, or plan with less", number(n), number(high.n), beside)
	}
	if n < low.n {
		return capacityPoint{}, fmt.Sprintf("%s in flight per replica is below %s, the smallest concurrency that was measured: measure there, or plan with more", number(n), number(low.n))
	}
	for i, p := range c.points {
		if p.n >= n {
			if i == 0 {
				return p, ""
			}
			q := c.points[i-1]
			f := (n - q.n) / (p.n - q.n)
			return capacityPoint{n, q.residence + f*(p.residence-q.residence), q.tokens + f*(p.tokens-q.tokens)}, ""
		}
	}
	return high, ""
}

// inFlight is what a rate keeps in flight on a replica (Little's law), its time
// in system taken at that very number; never more than most.
func (c *capacity) inFlight(rate, most float64) float64 {
	low, high := 0.0, most
	for range 60 {
		mid := (low + high) / 2
		at, why := c.at(max(mid, c.points[0].n))
		if why == "" && mid/at.residence < rate {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}
