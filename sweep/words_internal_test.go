package sweep

import (
	"testing"

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
