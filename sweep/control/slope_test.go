package control_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// Where errors grow slowly the answer is as exact as the requests allow, and says
// what more of them would give.
func TestSlowlyGrowingErrors(t *testing.T) {
	w := worked(t, "slots")
	w.Config.Slots = 0
	w.Config.ErrorRate = simserver.ErrorRate{PerRequest: 0.002, From: 20, After: 50 * time.Millisecond}
	width := func(requests int) float64 {
		r := answerOf(t, w, 5, func(c *asking) { c.Config.SearchRequests = requests })
		if r.Limit == nil || r.Limit.BoundBy != sweep.RuleSuccess {
			t.Fatalf("%d requests: %s", requests, r.Sentence)
		}
		low, high := r.Limit.Low.Or(0), r.Limit.High.Or(math.Inf(1))
		if low > 45 || high < 45 {
			t.Errorf("%d requests: %s; the truth is 45", requests, r.Sentence)
		}
		if told := strings.Contains(r.Limit.Note, "search_requests"); told != (high-low > 2) {
			t.Errorf("%d requests: %s: %q", requests, r.Sentence, r.Limit.Note)
		}
		if spent := r.Search.Requests; spent < requests || spent > requests*3/2+500 {
			t.Errorf("%d requests were spent of %d", spent, requests)
		}
		return high - low
	}
	if few, many := width(2000), width(12000); many > 0.7*few {
		t.Errorf("an interval of %.0f became one of %.0f with six times as many requests", few, many)
	}
}

// A full queue may be told with a 429 as well (TGI does): that is no rate limiter,
// and its limit is as sharp as any other queue's.
func TestFullQueueThatSays429(t *testing.T) {
	w := worked(t, "queue_cap")
	w.Config.Server = "tgi"
	r := answerOf(t, w, 1, func(c *asking) { c.Stop.MinThroughputGain = 0 })
	if _, ok := r.Steps[len(r.Steps)-1].Failures[loadgen.HTTP5xx]; ok {
		t.Fatal("the simulated server says 5xx")
	}
	l := r.Limit
	if l == nil || l.Concurrency.Or(0) != 48 || l.Low.Or(0) != 48 || l.High.Or(0) != 48 || strings.Contains(l.Note, "rate limiter") {
		t.Errorf("%s: %+v; 32 run and 16 wait", r.Sentence, l)
	}
}
