package sweep

import (
	"testing"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// An interval without an upper end says so in every sentence, and an end that is
// not known is never a number.
func TestLimitsInWords(t *testing.T) {
	n := loadgen.Known
	for _, c := range []struct {
		limit          analysis.Limit
		binding, other string
	}{
		{analysis.Limit{Concurrency: n(91), Low: n(90), High: n(92), Confidence: n(0.95), BoundBy: RuleTTFT},
			"limit 91 (95 % CI 90-92), bound by TTFT", "TTFT 91 (90-92)"},
		{analysis.Limit{Concurrency: n(30), Low: n(28), Confidence: n(0.95), BoundBy: RuleSuccess},
			"limit 30 (95 % CI 28 or more), bound by success", "success 30 (28 or more)"},
		{analysis.Limit{Concurrency: n(64), Low: n(62), High: n(67), Confidence: n(0.9), BoundBy: RuleGain},
			"limit 64 (90 % CI 62-67), bound by throughput gain", "gain knee 64 (62-67)"},
		{analysis.Limit{Concurrency: n(50), Low: n(50), High: n(100), BoundBy: "pace"},
			"limit between 50 and 100, bound by pace", "pace between 50 and 100"},
	} {
		if got := limitWords(c.limit); got != c.binding {
			t.Errorf("as the limit: %q, want %q", got, c.binding)
		}
		if got := otherLimit(c.limit); got != c.other {
			t.Errorf("beside another: %q, want %q", got, c.other)
		}
	}
	if got := otherLimit(analysis.Limit{AtLeast: n(100), BoundBy: RuleSuccess}); got != "success > 100" {
		t.Errorf("not reached: %q", got)
	}
	if got := otherLimit(analysis.Limit{BoundBy: RuleResources}); got != "" {
		t.Errorf("nothing known: %q", got)
	}
}
