package control_test

import (
	"math"
	"strings"
	"testing"

	"github.com/capfind/capfind/analysis/diagnosis"
)

// TestWhyOfTheWorkedCases holds the cause that a sweep names, without any of the
// server's own metrics, against servers whose cause is known.
func TestWhyOfTheWorkedCases(t *testing.T) {
	noGain := func(c *asking) { c.Stop.MinThroughputGain = 0 }
	for _, c := range []struct {
		name string
		set  func(*asking)
		kind string
		says string
	}{
		{"slots", nil, diagnosis.KindSlots, "about 64 requests run at once"},
		{"decode", nil, diagnosis.KindMemoryBandwidth, "with no queue"},
		{"rate_limit", nil, diagnosis.KindRateLimiter, "req/s got through with TTFT unchanged at 100 ms"},
		{"crash", nil, diagnosis.KindCrash, "answered at 136 and died at 137"},
		{"queue_cap", noGain, diagnosis.KindQueueCap, "queue cap: 48 requests fit into the server and its queue"},
		{"usl", nil, diagnosis.KindMemoryBandwidth, "each request in flight slows the others"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := answerOf(t, worked(t, c.name), 3, c.set)
			b := r.Bottleneck
			text := b.Sentence + "\n" + strings.Join(b.Evidence, "\n")
			if b.Kind != c.kind || !strings.Contains(text, c.says) {
				t.Errorf("%s: %s\nwant %s, saying %q", b.Kind, text, c.kind, c.says)
			}
		})
	}
}

// TestSharesOfTheWorkedCases holds the parts of the response time to the closed
// forms: 64 slots of 0.1 s prefill and 2 s decode, and a decode that slows down,
// where nothing waits.
func TestSharesOfTheWorkedCases(t *testing.T) {
	for _, c := range []struct {
		name string
		of   func(n float64) (queue, prefill, decode float64)
	}{
		{"slots", func(n float64) (queue, prefill, decode float64) {
			return max(0, n-64) * 2.1 / 64, 0.1, 2
		}},
		{"decode", func(n float64) (queue, prefill, decode float64) {
			return 0, 0.020 + 0.002*n, 255 * (0.008 + 0.0002*n)
		}},
	} {
		b := answerOf(t, worked(t, c.name), 3, nil).Bottleneck
		for _, s := range []*diagnosis.Shares{b.Shares, b.Overload} {
			if s == nil {
				t.Errorf("%s: no shares: %+v", c.name, b)
				continue
			}
			q, p, d := c.of(float64(s.Concurrency))
			sum := q + p + d
			off := max(math.Abs(s.Queue.Or(9)-q/sum), math.Abs(s.Prefill.Or(9)-p/sum), math.Abs(s.Decode.Or(9)-d/sum))
			t.Logf("%s at %d: queue %s prefill %s decode %s; off by %.3f", c.name, s.Concurrency, s.Queue.Format(3), s.Prefill.Format(3), s.Decode.Format(3), off)
			if off > 0.03 {
				t.Errorf("%s at %d: queue %s, prefill %s, decode %s; the closed form gives %.3f, %.3f, %.3f",
					c.name, s.Concurrency, s.Queue.Format(3), s.Prefill.Format(3), s.Decode.Format(3), q/sum, p/sum, d/sum)
			}
		}
	}
}
