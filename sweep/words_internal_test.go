package sweep

import (
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
