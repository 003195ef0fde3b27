package loadgen

import (
	"testing"
	"time"
)

// The kernel stamps by the wall clock, which may be set while a request runs.
// Whatever it says, an arrival lies between what was known before and the read.
func TestArrivalWhileTheClockIsSet(t *testing.T) {
	start := time.Now()
	after, floor := 10*time.Millisecond, 4*time.Millisecond
	for _, c := range []struct {
		name   string
		ago    time.Duration // of the stamp, by the wall clock after the read
		want   time.Duration
		source StampSource
	}{
		{"as it should be", 2 * time.Millisecond, 8 * time.Millisecond, StampKernel},
		{"at once", 0, after, StampKernel},
		{"as early as can be", 6 * time.Millisecond, floor, StampKernel},
		{"set back an hour before the read", -time.Hour, after, StampUser},
		{"set back a little before the read", -time.Microsecond, after, StampUser},
		{"set forward an hour before the read", time.Hour, after, StampUser},
		{"set forward a little before the read", 7 * time.Millisecond, after, StampUser},
	} {
		s := &stampConn{after: start.Add(after)}
		s.kernel = s.after.Add(-c.ago).UnixNano()
		a := s.arrival(start, floor)
		if a.at != c.want || a.source != c.source {
			t.Errorf("%s: arrived at %v by the %v, want %v by the %v", c.name, a.at, a.source, c.want, c.source)
		}
		if want := max(c.ago, 0); a.source == StampKernel && a.delay != want {
			t.Errorf("%s: %v from kernel to user, want %v", c.name, a.delay, want)
		}
	}
	s := &stampConn{after: start.Add(after)}
	if a := s.arrival(start, floor); a.at != after || a.source != StampUser {
		t.Errorf("without a stamp: %+v", a)
	}
}
