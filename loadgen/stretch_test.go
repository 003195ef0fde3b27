package loadgen_test

import (
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

func TestRoundStretch(t *testing.T) {
	for span, want := range map[time.Duration]time.Duration{0: time.Millisecond, time.Minute: time.Second, time.Minute + 1: 2 * time.Second, 47 * time.Minute: time.Minute,
		100 * time.Hour: 2 * time.Hour, 31 * 24 * time.Hour: 24 * time.Hour, 70 * 24 * time.Hour: 48 * time.Hour} {
		if got := loadgen.RoundStretch(span, 60); got != want {
			t.Errorf("%v in 60: %v, want %v", span, got, want)
		}
	}
}
