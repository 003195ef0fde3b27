package sweep

import "testing"

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
