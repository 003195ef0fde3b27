package sweep

import (
	"strings"
	"testing"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

func limitOf(rule string, at, low, high float64) analysis.Limit {
	return analysis.Limit{BoundBy: rule, Concurrency: loadgen.Known(at), Low: loadgen.Known(low), High: loadgen.Known(high), Confidence: loadgen.Known(0.95)}
}

// The smallest limit binds, but another whose interval begins lower may bind in
// truth: the answer is no surer than that.
func TestBindingLimitIsNoSurerThanTheOthers(t *testing.T) {
	l := binding(map[string]analysis.Limit{
		RuleTTFT: limitOf(RuleTTFT, 82, 82, 83),
		RuleGain: limitOf(RuleGain, 92, 64, 99),
	})
	if l.BoundBy != RuleTTFT || l.Concurrency.Or(0) != 82 || l.Low.Or(0) != 64 || l.High.Or(0) != 83 || !strings.Contains(l.Note, "gain knee 92 (64-99)") {
		t.Errorf("%+v", l)
	}
	l = binding(map[string]analysis.Limit{
		RuleTTFT:    limitOf(RuleTTFT, 91, 90, 92),
		RuleSuccess: limitOf(RuleSuccess, 64, 63, 65),
	})
	if l.BoundBy != RuleSuccess || l.Low.Or(0) != 63 || l.Note != "" {
		t.Errorf("%+v", l)
	}
	if l := binding(map[string]analysis.Limit{RuleTTFT: {BoundBy: RuleTTFT, AtLeast: loadgen.Known(100)}}); l != nil {
		t.Errorf("a limit that was not reached binds: %+v", l)
	}
}
