package report

import (
	"errors"
	"fmt"
	"math"
	"sort"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// Subject is one result in a comparison.
type Subject struct {
	Name         string
	Result       *sweep.Result
	PricePerHour analysis.Number // of one replica; unknown: no costs
	Link         string          // to its report, from the page; empty where there is none
}

// CompareOptions say how results are put side by side.
type CompareOptions struct {
	Language Language
	Currency string // of the prices
	// FailIfWorse is the share by which a figure may be worse than the first
	// subject's before it counts as a regression, e.g. 0.05; unknown: no gate.
	FailIfWorse analysis.Number
}

// Comparison is several results side by side; the first one is what the others
// are held against.
type Comparison struct {
	Names       []string           `json:"names"`
	Rows        []ComparedFigure   `json:"rows"`
	Differences []ConfigDifference `json:"config_differences"`
	Notes       []string           `json:"notes"`
	Regressions []string           `json:"regressions"` // one sentence each; empty where nothing is worse beyond the threshold

	subjects []Subject
	o        CompareOptions
	w        words
}

// ComparedFigure is one figure of all subjects.
type ComparedFigure struct {
	Key      string            `json:"key"`
	Name     string            `json:"name"`
	Higher   bool              `json:"higher_is_better"`
	Values   []analysis.Number `json:"values"` // base units; a limit that was not reached has its lower bound
	Errors   []analysis.Number `json:"standard_errors"`
	AtLeast  []bool            `json:"at_least"` // the value is a lower bound
	Shown    []string          `json:"shown"`
	Changes  []Change          `json:"changes"` // against the first subject; the first entry is empty
	decimals func(analysis.Number) string
}

// Change is how a figure differs from the first subject's.
type Change struct {
	Relative    analysis.Number `json:"relative"`    // share of the first subject's
	P           analysis.Number `json:"p"`           // two-sided, normal; null where a standard error is unknown
	Significant *bool           `json:"significant"` // at 5 % over the whole table (Holm); null where it cannot be told
	Worse       bool            `json:"worse"`
}

// ConfigDifference is a setting that is not the same in all results.
type ConfigDifference struct {
	Key    string   `json:"key"`
	Values []string `json:"values"`
}

// Compare puts two or more results side by side. A difference is significant
// where the standard errors of both figures say so, with Holm's correction for
// looking at many figures at once (Holm 1979).
func Compare(subjects []Subject, o CompareOptions) (*Comparison, error) {
	if len(subjects) < 2 {
		return nil, errors.New("a comparison needs at least two results")
	}
	w, err := dictionary(o.Language)
	if err != nil {
		return nil, err
	}
	c := &Comparison{subjects: subjects, o: o, w: w}
	for i, s := range subjects {
		if s.Result == nil || len(s.Result.Steps) == 0 {
			return nil, fmt.Errorf("%s has no steps to compare", s.Name)
		}
		name := s.Name
		if name == "" {
			name = string(rune('A' + i))
		}
		c.Names = append(c.Names, name)
	}
	c.answers()
	c.atCommonLoads()
	c.costs()
	c.test()
	c.judge()
	c.Differences = configDifferences(subjects)
	c.remarks()
	return c, nil
}

// figureOf is a figure of one subject with its standard error.
type figureOf func(i int) (value, se analysis.Number, atLeast bool)

// add appends a figure unless nobody has it.
func (c *Comparison) add(key, name string, higher bool, show func(analysis.Number) string, take figureOf) {
	row := ComparedFigure{Key: key, Name: name, Higher: higher, decimals: show}
	known := false
	for i := range c.subjects {
		v, se, least := take(i)
		text := show(v)
		if least {
			text = c.w.say("limit.atLeast", text)
		}
		row.Values, row.Errors, row.AtLeast, row.Shown = append(row.Values, v), append(row.Errors, se), append(row.AtLeast, least), append(row.Shown, text)
		known = known || v.IsKnown()
	}
	if known {
		c.Rows = append(c.Rows, row)
	}
}

// answers compares what the sweeps found.
func (c *Comparison) answers() {
	unknown := analysis.Number{}
	c.add("limit", c.w.say("compare.limit"), true, whole, func(i int) (analysis.Number, analysis.Number, bool) {
		r := c.subjects[i].Result
		if r.Verdict == sweep.Unstable {
			return unknown, unknown, false
		}
		if r.Limit == nil {
			return r.Ladder.LastGood, unknown, r.Ladder.LastGood.IsKnown()
		}
		return r.Limit.Concurrency, intervalSE(*r.Limit), false
	})
	c.add("recommended", c.w.say("fact.band"), true, whole, func(i int) (analysis.Number, analysis.Number, bool) {
		if rec := c.subjects[i].Result.Recommendation; rec != nil {
			return rec.High, unknown, false
		}
		return unknown, unknown, false
	})
	c.add("peak_request_throughput", c.w.say("fact.peak"), true, func(n analysis.Number) string { return perSecond(n, "req/s") },
		func(i int) (analysis.Number, analysis.Number, bool) {
			s, _ := best(c.subjects[i].Result, func(s *analysis.Summary) analysis.Number { return s.RequestThroughput })
			if s == nil {
				return unknown, unknown, false
			}
			return s.RequestThroughput, s.RequestThroughputSE, false
		})
	c.add("peak_output_throughput", c.w.say("compare.peakTokens"), true, func(n analysis.Number) string { return perSecond(n, "tok/s") },
		func(i int) (analysis.Number, analysis.Number, bool) {
			s, _ := best(c.subjects[i].Result, func(s *analysis.Summary) analysis.Number { return s.OutputThroughput })
			if s == nil {
				return unknown, unknown, false
			}
			return s.OutputThroughput, scaled(s.RequestThroughputSE, s.OutputThroughput, s.RequestThroughput), false
		})
}

// scaled gives the standard error of a rate that is proportional to another:
// that of tokens/s has the relative error of requests/s.
func scaled(se, rate, other analysis.Number) analysis.Number {
	e, ok := se.Value()
	if !ok || other.Or(0) <= 0 {
		return analysis.Number{}
	}
	return number(e * rate.Or(0) / other.Or(1))
}

// intervalSE is the standard error that a limit's interval stands for.
func intervalSE(l analysis.Limit) analysis.Number {
	c, ok := l.Confidence.Value()
	if !ok || !l.Low.IsKnown() || !l.High.IsKnown() || c <= 0 || c >= 1 {
		return analysis.Number{}
	}
	return number((l.High.Or(0) - l.Low.Or(0)) / 2 / (math.Sqrt2 * math.Erfinv(c)))
}

// best is the step whose figure is highest.
func best(r *sweep.Result, take func(*analysis.Summary) analysis.Number) (*analysis.Summary, int) {
	var found *analysis.Summary
	at := 0
	for i := range r.Steps {
		s := r.Steps[i].Verdict()
		if take(s).IsKnown() && (found == nil || take(s).Or(0) > take(found).Or(0)) {
			found, at = s, r.Steps[i].Concurrency
		}
	}
	return found, at
}

// atCommonLoads compares the figures at the lowest and the highest load that
// every result has a step for.
func (c *Comparison) atCommonLoads() {
	common := c.commonLoads()
	if len(common) == 0 {
		return
	}
	loads := []int{common[0]}
	if last := common[len(common)-1]; last != common[0] {
		loads = append(loads, last)
	}
	for _, n := range loads {
		at := func(i int) *analysis.Summary { return stepAt(c.subjects[i].Result, n).Verdict() }
		suffix := fmt.Sprintf("_at_%d", n)
		name := func(key string) string { return c.w.say("compare.at", c.w.say(key), count(n)) }
		c.add("request_throughput"+suffix, name("fact.throughput"), true, func(n analysis.Number) string { return perSecond(n, "req/s") },
			func(i int) (analysis.Number, analysis.Number, bool) {
				return at(i).RequestThroughput, at(i).RequestThroughputSE, false
			})
		for _, m := range []struct {
			key, word string
			take      func(*analysis.Summary) analysis.Dist
		}{
			{"ttft", "fact.ttft", func(s *analysis.Summary) analysis.Dist { return s.TTFT }},
			{"tpot", "fact.tpot", func(s *analysis.Summary) analysis.Dist { return s.TPOT }},
			{"e2e", "fact.e2e", func(s *analysis.Summary) analysis.Dist { return s.E2E }},
		} {
			c.add("mean_"+m.key+"_seconds"+suffix, name(m.word), false, seconds, func(i int) (analysis.Number, analysis.Number, bool) {
				d := m.take(at(i))
				return d.Mean, d.SE, false
			})
		}
		c.add("success_rate"+suffix, name("fact.success"), true, func(n analysis.Number) string { return percent(n, 1) },
			func(i int) (analysis.Number, analysis.Number, bool) {
				s := at(i)
				return s.SuccessRate, binomialSE(s), false
			})
	}
}

// binomialSE is the standard error of a success rate, by Agresti and Coull's
// adjustment (two successes and two failures more), which stays above 0 where
// nothing failed.
func binomialSE(s *analysis.Summary) analysis.Number {
	n := float64(s.Completed+s.Failed) + 4
	if n == 4 {
		return analysis.Number{}
	}
	p := (float64(s.Completed) + 2) / n
	return number(math.Sqrt(p * (1 - p) / n))
}

// stepAt is the step at a concurrency, one of the ladder before one of the search.
func stepAt(r *sweep.Result, n int) *analysis.Step {
	var found *analysis.Step
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.Concurrency == n && s.Abandoned == "" && (found == nil || onLadder(s.Phase) && !onLadder(found.Phase)) {
			found = s
		}
	}
	return found
}

func (c *Comparison) commonLoads() []int {
	var common []int
	seen := map[int]bool{}
	for i := range c.subjects[0].Result.Steps {
		n := c.subjects[0].Result.Steps[i].Concurrency
		everywhere := !seen[n]
		seen[n] = true
		for _, s := range c.subjects {
			everywhere = everywhere && stepAt(s.Result, n) != nil
		}
		if everywhere {
			common = append(common, n)
		}
	}
	sort.Ints(common)
	return common
}

// costs compares the price of a million output tokens at each one's
// recommendation, where prices are given.
func (c *Comparison) costs() {
	c.add("cost_per_million_output_tokens", c.w.say("compare.cost", Options{Currency: c.o.Currency}.currency()), false, figure,
		func(i int) (analysis.Number, analysis.Number, bool) {
			s := c.subjects[i]
			if !s.PricePerHour.IsKnown() || s.Result.Recommendation == nil {
				return analysis.Number{}, analysis.Number{}, false
			}
			plan := analysis.PlanReplicas(s.Result.Steps, *s.Result.Recommendation, nil, analysis.Sizing{PricePerHour: s.PricePerHour.Or(0), Curve: s.Result.Curve})
			return plan.CostPerMillion, analysis.Number{}, false
		})
}
