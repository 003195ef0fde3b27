package report

import (
	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/analysis/diagnosis"
)

// why explains where the measurement ended and what saturates there.
type why struct {
	Cause      string   // what saturates
	Evidence   []string // for it
	Shares     []shares // of the response time, where they are known
	Paragraphs []string // how the measurement came to its end
}

// shares are the parts of the response time at one load.
type shares struct {
	Load  string // empty where the result does not say it
	Parts []share
}

type share struct {
	Name, Text, Class string
	Width             float64 // percent
}

func (v *view) why() *why {
	r := v.r
	var y why
	add := func(s string) { y.Paragraphs = append(y.Paragraphs, s) }
	if b := r.Bottleneck; b != nil {
		y.Cause = v.w.closed(b.Sentence)
		if b.Sentence == "" {
			y.Cause = v.w.name("bottleneck", b.Kind)
		}
		for _, e := range b.Evidence {
			y.Evidence = append(y.Evidence, v.w.sentence(e))
		}
		for _, s := range []*diagnosis.Shares{b.Shares, b.Overload} {
			if parts := v.shares(s); parts != nil {
				y.Shares = append(y.Shares, *parts)
			}
		}
	}
	if r.Ladder.StoppedBy != "" {
		add(v.w.say("why.ladder", v.w.sentence(r.Ladder.Sentence)))
	} else if r.Ladder.LastGood.IsKnown() && r.Complete && len(r.Steps) > 1 {
		add(v.w.say("why.ran", whole(r.Ladder.LastGood)))
	}
	if n, ok := r.Ladder.ScriptSuggestion.Value(); ok && n >= 1 {
		add(v.w.say("why.script", whole(number(n))))
	}
	if r.Search != nil {
		add(v.w.say("why.search", count(r.Search.Requests), significant(r.Search.Seconds), v.w.say(map[bool]string{true: "why.confirmed", false: "why.unconfirmed"}[r.Search.Confirmed])))
	}
	if y.Cause == "" && len(y.Paragraphs) == 0 {
		return nil
	}
	return &y
}

func (v *view) shares(s *diagnosis.Shares) *shares {
	if s == nil {
		return nil
	}
	var out shares
	if s.Concurrency > 0 {
		out.Load = count(s.Concurrency)
	}
	for _, p := range []struct {
		key, class string
		n          analysis.Number
	}{{"share.queue", "s-queue", s.Queue}, {"share.front_end", "s-front", s.FrontEnd}, {"share.prefill", "s-prefill", s.Prefill}, {"share.decode", "s-decode", s.Decode}} {
		if x, ok := p.n.Value(); ok {
			out.Parts = append(out.Parts, share{v.w.say(p.key), percent(p.n, 0), p.class, x * 100})
		}
	}
	if len(out.Parts) < 2 {
		return nil
	}
	return &out
}

// refusals are the claims about the curve that were not made. Of a single load, or
// of results that hold no steady states, there is no curve to claim anything about.
func (v *view) refusals() []string {
	if v.r.Curve == nil || v.r.Curve.ToConcurrency == 0 || v.distinctLoads() < 2 {
		return nil
	}
	return v.w.closedAll(v.r.Curve.Refusals)
}
