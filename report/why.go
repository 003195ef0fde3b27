package report

import (
	"strings"

	"github.com/capfind/capfind/analysis"
)

// why explains where the measurement ended and what saturates there.
type why struct {
	Paragraphs []string
	Evidence   []string
	Shares     []share // of the response time, where they are known
}

type share struct {
	Name, Text, Class string
	Width             float64 // percent
}

func (v *view) why() *why {
	r := v.r
	var y why
	add := func(s string) {
		if s != "" {
			y.Paragraphs = append(y.Paragraphs, capital(s))
		}
	}
	if r.Ladder.StoppedBy != "" {
		add(v.w.say("why.ladder", v.ladderStop()))
	} else if r.Ladder.LastGood.IsKnown() && r.Complete && len(r.Steps) > 1 {
		add(v.w.say("why.ran", whole(r.Ladder.LastGood)))
	}
	if n, ok := r.Ladder.ScriptSuggestion.Value(); ok && n >= 1 {
		add(v.w.say("why.script", whole(number(n))))
	}
	if b := r.Bottleneck; b != nil {
		sentence := b.Sentence
		if v.w.lang != English || sentence == "" {
			sentence = v.w.name("bottleneck", b.Kind)
		}
		add(sentence)
		y.Evidence = b.Evidence
		y.Shares = v.shares(b.Shares)
	}
	for _, c := range r.Crashes {
		add(c.Sentence)
	}
	if r.Search != nil {
		add(v.w.say("why.search", count(r.Search.Requests), significant(r.Search.Seconds), v.w.say(map[bool]string{true: "why.confirmed", false: "why.unconfirmed"}[r.Search.Confirmed])))
	}
	if len(y.Paragraphs) == 0 && len(y.Evidence) == 0 {
		return nil
	}
	return &y
}

func (v *view) shares(s *analysis.Shares) []share {
	if s == nil {
		return nil
	}
	var out []share
	for _, p := range []struct {
		key, class string
		n          analysis.Number
	}{{"share.queue", "s-queue", s.Queue}, {"share.prefill", "s-prefill", s.Prefill}, {"share.decode", "s-decode", s.Decode}} {
		if x, ok := p.n.Value(); ok {
			out = append(out, share{v.w.say(p.key), percent(p.n, 0), p.class, x * 100})
		}
	}
	if len(out) < 2 {
		return nil
	}
	return out
}

// refusals are the claims about the curve that were not made.
func (v *view) refusals() string {
	if v.r.Curve == nil {
		return ""
	}
	return strings.Join(v.r.Curve.Refusals, "; ")
}
