package sweep

import (
	"math"
	"testing"

	"github.com/capfind/capfind/analysis"
)

// shaped is the evidence of loads whose times in system are given by a function.
func shaped(t *testing.T, residence func(n float64) float64, twice []int, loads ...int) *evidence {
	t.Helper()
	q := FindLimit{Config: Default(), Rules: DefaultStopRules(), Band: DefaultBand()}
	var h History
	add := func(n int) {
		k := 0
		l := LoadState{Residence: residence(float64(n)), TTFT: 0.1, Tokens: 100, Vary: func(b analysis.LevelBatch) analysis.LevelBatch {
			k++
			f := 1 + 0.002*float64(k%3-1)
			b.Residence, b.Decode = f*b.Residence, f*b.Decode
			return b
		}}
		o := &Order{Concurrency: n, Requests: 10 * n, Phase: analysis.PhaseLadder, Rules: q.Rules}
		h.Steps = append(h.Steps, l.Step(o, max(10*n, 100), 0))
	}
	for _, n := range append(loads, twice...) {
		add(n)
	}
	return q.read(h)
}

// Batches that are rounded up to 16 make teeth: a load in the middle of one seems to
// gain over the end of the next, although the knee lies below both. Its truth is 96.
func TestKneeOfAServerWithTeeth(t *testing.T) {
	padded := func(n float64) float64 { return 0.82 + 0.022*16*math.Ceil(n/16) }
	e := shaped(t, padded, []int{10, 2, 50}, 1, 2, 5, 10, 20, 50, 100, 134, 147, 179, 200, 217, 239, 320, 500)
	low, high, _ := e.kneeBracket(shownBy)
	if low > 96 || high < 96 || !e.between().Odd {
		t.Errorf("the knee is said to lie from %.0f to %.0f, spread %+v", low, high, e.between())
	}
	smooth := func(n float64) float64 { return 0.82 + 0.022*n }
	e = shaped(t, smooth, []int{10, 2, 50}, 1, 2, 5, 10, 20, 50, 100, 134, 147, 179, 200, 217, 239, 320, 500)
	if low, high, ok := e.kneeBracket(shownBy); !ok || low < 50 || high > 200 || e.teeth() != 0 {
		t.Errorf("without teeth: from %.0f to %.0f, teeth %.3f", low, high, e.teeth())
	}
}

// On a slope the neighbours that held and broke the rule may be the lucky one and the
// unlucky one: they are no cliff.
func TestSlopeThatLooksLikeACliff(t *testing.T) {
	q := FindLimit{Config: Default(), Rules: DefaultStopRules(), Band: DefaultBand()}
	var h History
	add := func(n, completed, failed int) {
		o := &Order{Concurrency: n, Requests: completed + failed, Phase: analysis.PhaseProbe, Purpose: RuleSuccess, Rules: q.Rules}
		if n%10 == 0 && n != 60 {
			o.Phase, o.Purpose = analysis.PhaseLadder, ""
		}
		h.Steps = append(h.Steps, LoadState{Residence: 2, TTFT: 0.1, Tokens: 100}.Step(o, completed, failed))
	}
	for _, s := range [][3]int{{10, 100, 0}, {20, 200, 0}, {50, 500, 0}, {100, 140, 101}, {58, 290, 0}, {60, 300, 0}, {61, 303, 2}, {62, 144, 11}} {
		add(s[0], s[1], s[2])
	}
	l := q.read(h).limits()[RuleSuccess]
	if l.Concurrency.Or(0) != 61 || l.Low.Or(99) > 61 || l.High.Or(0) < 62 {
		t.Errorf("%+v", l)
	}
	h.Steps[6].Whole.Failed, h.Steps[6].Whole.Completed = 0, 305
	if l := q.read(h).limits()[RuleSuccess]; l.Low != l.High || l.Concurrency.Or(0) != 61 {
		t.Errorf("a cliff: %+v", l)
	}
}

// A ladder that chance stopped at 100, on a server whose runs differ: the curve has
// throughput grow on, so that 100 is no upper end of where the gain ends.
func TestStopByChanceIsNoUpperEnd(t *testing.T) {
	q := FindLimit{Config: Default(), Rules: DefaultStopRules(), Band: DefaultBand()}
	q.Rules.MaxTTFT = 0
	var h History
	add := func(n int, factor float64) {
		k := 0
		l := LoadState{Residence: (2 + 0.005*float64(n)) * factor, TTFT: 0.1, Tokens: 100, Vary: func(b analysis.LevelBatch) analysis.LevelBatch {
			k++
			f := 1 + 0.01*float64(k%3-1)
			b.Residence, b.Decode = f*b.Residence, f*b.Decode
			return b
		}}
		o := &Order{Concurrency: n, Requests: 10 * n, Phase: analysis.PhaseLadder, Rules: q.Rules, Prev: q.read(h).passed()}
		h.Steps = append(h.Steps, l.Step(o, max(10*n, 100), 0))
	}
	for i, n := range []int{1, 2, 5, 10, 20, 50} {
		add(n, []float64{1.1, 0.85, 1.15, 0.9, 1.1, 0.8}[i])
	}
	add(100, 1.3)
	add(10, 1.15)
	add(20, 0.85)
	e := q.read(h)
	l := e.limits()[RuleGain]
	if !e.curve().KneeBeyond || e.broken != 100 {
		t.Fatalf("another case than meant: broken at %d, curve %+v", e.broken, e.curve())
	}
	if l.High.IsKnown() || l.Confidence.IsKnown() {
		t.Errorf("%+v", l)
	}
}
