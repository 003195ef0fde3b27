package sweep

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// Bounds on the exact search. They only matter where a server does not behave
// as any method expects: then the answer stays a bracket.
const (
	maxSuccessProbes = 12
	maxLatencyProbes = 6
	maxKneeProbes    = 5
	maxBisections    = 8
)

// hunt is the exact search after the ladder. Every decision follows from the
// steps so far and from nothing else, so that a resumed search goes on where it
// was interrupted.
type hunt struct {
	*session
	last   int // ladder's last good step
	broken int // ladder's first bad step; 0 where none
	from   Spent
	doubts []string // what contradicts a claim
}

// search finds each criterion's limit between the ladder's steps: success first,
// for where requests fail the other figures mean nothing, then the times, then
// the knee of throughput, and at the end whether the server is still the one
// that the ladder measured.
func (s *session) search(ctx context.Context) error {
	h := &hunt{session: s, from: s.ladderSpent()}
	if !h.worthwhile() {
		return nil
	}
	if s.r.Search == nil {
		s.r.Search = &Search{}
	}
	err := h.run(ctx)
	if err == nil || isEnding(err) {
		h.conclude(err)
	}
	return err
}

// ladderSpent is what the steps of the ladder cost; on a resumed run too.
func (s *session) ladderSpent() Spent {
	var spent Spent
	for i := range s.r.Steps {
		if s.r.Steps[i].Phase == analysis.PhaseLadder {
			n, tokens := costOf(&s.r.Steps[i])
			spent.Requests += n
			spent.Tokens += tokens
		}
	}
	return spent
}

func costOf(step *analysis.Step) (requests, tokens int) {
	w := &step.Whole
	return w.Completed + w.Failed, w.InputTokens + w.OutputTokens
}

// isEnding reports whether an error is a finding rather than a failure.
func isEnding(err error) bool {
	var budget *budgetError
	return errors.Is(err, errInterrupted) || errors.Is(err, errServerGone) || errors.As(err, &budget)
}

// worthwhile reports whether there is something to search between: a step that
// held, and one that the server, not the client, failed, if any did.
func (h *hunt) worthwhile() bool {
	h.last = int(h.r.Ladder.LastGood.Or(0))
	bad := firstBad(h.r.Steps)
	if h.last == 0 || bad != nil && bad.ClientLimited() {
		return false
	}
	if bad != nil {
		h.broken = bad.Concurrency
	}
	return true
}

func (h *hunt) run(ctx context.Context) error {
	for _, part := range []func(context.Context) error{h.success, h.latencies, h.others, h.knee, h.confirm, h.drift} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (h *hunt) note(format string, args ...any) {
	h.r.Search.Notes = append(h.r.Search.Notes, fmt.Sprintf(format, args...))
}

func (h *hunt) doubt(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	h.doubts = append(h.doubts, text)
	h.note("%s", text)
}

// probe measures a concurrency for about waves requests per request in flight.
// The first two waves warm up and the last one drains, so that four leave one to
// measure; more where the lengths of answers vary.
func (h *hunt) probe(ctx context.Context, n int, waves float64, phase analysis.Phase, why string) (*analysis.Step, error) {
	requests := max(int(math.Ceil(waves*float64(n))), leastProbe)
	h.note("%d requests in flight, %d requests: %s", n, requests, why)
	test := analysis.NewSPRT(h.Stop.MinSuccessRate)
	done, failed, sent := 0, 0, 0
	cliff := h.pastCliff(n)
	step, err := h.measure(ctx, order{
		concurrency: n, requests: requests, phase: phase,
		lost: func(x *loadgen.Sample) bool {
			if x.Class != loadgen.Success && !x.Class.ServerFailure() {
				return false
			}
			done++
			sent = max(sent, x.Index+1)
			if x.Class != loadgen.Success {
				failed++
			}
			below := test.Add(x.Class == loadgen.Success) == analysis.Below
			// Where success falls slowly, to stop at a bad moment would count the
			// moment as the rate. And a server that turns requests away shows by
			// the others how many it can serve, once two waves are through. Failures are
			// often quicker than answers: of those sent, not of those that finished,
			// half must have failed.
			return h.Stop.MinSuccessRate > 0 && below && (2*failed > sent || done >= 2*n && cliff)
		},
	})
	if err != nil && !(errors.Is(err, errServerGone) && step.Concurrency == n) {
		return nil, err
	}
	return &step, err
}

// pastCliff reports whether a concurrency is known to lie past a cliff: more than
// was being served while others were turned away.
func (h *hunt) pastCliff(n int) bool {
	served, ok := h.served()
	return ok && float64(n) > served && !h.gradual()
}

// leastProbe is the fewest requests of a probe: without a failure they support a
// success rate of 95 % with 95 % confidence, and the sequential test accepts.
const leastProbe = 72

// spread is the coefficient of variation of the time in system at the last good
// step: how much the ends of a run fray.
func (h *hunt) spread() float64 {
	for i := range h.r.Steps {
		if s := &h.r.Steps[i]; s.Concurrency == h.last && s.Phase == analysis.PhaseLadder {
			d := s.Verdict().E2E
			if m := d.Mean.Or(0); m > 0 {
				return min(d.Std.Or(0)/m, 1)
			}
		}
	}
	return 0
}

// waves is how long a probe for a level must be.
func (h *hunt) waves() float64 { return 4 + 2*h.spread() }

// near is how close to an answer is close enough: 2 %, or one request.
func near(n float64) float64 { return max(1, 0.02*n) }
