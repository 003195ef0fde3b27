package sweep_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/capfind/capfind/sweep"
)

func TestDifferences(t *testing.T) {
	old := map[string]any{"sweep": map[string]any{"concurrency": []any{1.0, 2.0}, "settle": "500ms"}, "output": map[string]any{"dir": "a"}}
	now := map[string]any{"sweep": map[string]any{"concurrency": []int{1, 5, 10}, "settle": 500 * time.Millisecond}, "output": map[string]any{"dir": "b"}}
	var got []string
	for _, d := range sweep.Differences(old, now, "output") {
		got = append(got, d.String())
	}
	want := []string{
		"sweep.concurrency: [1,2], now [1,5,10]",
		"sweep.settle: \"500ms\", now 500000000",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if d := sweep.Differences(old, old); len(d) != 0 {
		t.Errorf("a config differs from itself: %v", d)
	}
}
