package sweep

import (
	"slices"
	"testing"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

func TestFailuresOfASoakInWords(t *testing.T) {
	for _, tt := range []struct {
		failed []int // of 100 requests in each slice
		want   string
	}{
		{[]int{0, 0, 0, 0}, "no request failed"},
		{[]int{0, 0, 2, 4}, "failures went from 0 % to 3 % of the requests between the halves of the run"},
	} {
		var slices []SoakSlice
		for _, failed := range tt.failed {
			slices = append(slices, SoakSlice{Failed: failed, Completed: 100 - failed})
		}
		if got, ok := errorTrend(slices); !ok || got.Sentence != tt.want {
			t.Errorf("%v: %q, want %q", tt.failed, got.Sentence, tt.want)
		}
	}
}

func TestMissedRateInWords(t *testing.T) {
	a := &QPSAnswer{Target: 20, Why: "the client was the limit"}
	if got, want := a.missed(), "whether 20.00 req/s can be reached was not seen: the client was the limit"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	a.HighestRate = loadgen.Known(17.5)
	if got, want := a.missed(), "20.00 req/s was not reached: the highest rate was 17.50 req/s; the client was the limit"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestUnlikeRunsInWords(t *testing.T) {
	e := &evidence{spreadB: &analysis.Between{Free: 3, Seen: 0.061, Tau: 0.06}}
	for _, tt := range []struct {
		low, high float64
		want      string
	}{
		{28, 28, "the server's speed differed by 6 % from run to run, which the interval allows for"},
		{20, 34, "the server's speed differed by 6 % from run to run, which is why the interval is no narrower"},
	} {
		a := &Answer{Limit: &analysis.Limit{Concurrency: loadgen.Known(28), Low: loadgen.Known(tt.low), High: loadgen.Known(tt.high)}}
		if got := e.remarks(a); len(got) != 1 || got[0] != tt.want {
			t.Errorf("%v-%v: %q, want %q", tt.low, tt.high, got, tt.want)
		}
	}
}

func TestUnsettledRunsInWords(t *testing.T) {
	step := func(n int, change float64) analysis.Step {
		return analysis.Step{Concurrency: n, Validity: []analysis.Check{{Check: "ttft_trend", Value: loadgen.Known(change), OK: change == 0}}}
	}
	limit := &analysis.Limit{Concurrency: loadgen.Known(80)}
	for _, tt := range []struct {
		steps []analysis.Step
		limit *analysis.Limit
		want  []string
	}{
		{[]analysis.Step{step(91, 0.3), step(82, 0.6), step(91, 0.2), step(70, 0)}, limit, []string{"82", "91"}},
		{[]analysis.Step{step(91, 0.3), step(82, 0.6)}, nil, nil},
		{[]analysis.Step{step(91, 0.3), step(82, 0)}, limit, nil},
		{[]analysis.Step{step(91, 0.3), step(82, 0.6), step(84, -0.3), step(85, -0.2)}, limit, nil},
		{[]analysis.Step{step(91, 0.3), step(20, 0.6), step(200, 0.6)}, limit, nil},
	} {
		e := &evidence{steps: tt.steps}
		if got := e.unsettledNear(tt.limit); !slices.Equal(got, tt.want) {
			t.Errorf("%v: %v, want %v", tt.steps, got, tt.want)
		}
	}
}
