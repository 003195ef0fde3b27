package sweep_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/capfind/capfind/sweep"
)

// talks is recorded traffic of sessions: the k-th begins k seconds after the first, and
// has 1 + k%5 requests, twenty seconds apart.
func talks(sessions int) *sweep.Traffic {
	type request struct {
		at             time.Duration
		session, index int
	}
	var all []request
	for k := range sessions {
		for i := range 1 + k%5 {
			all = append(all, request{time.Duration(k+20*i) * time.Second, k, i})
		}
	}
	slices.SortStableFunc(all, func(a, b request) int { return int(a.at - b.at) })
	t := &sweep.Traffic{Seed: 7}
	latest := map[int]int32{}
	for i, r := range all {
		before := int32(-1)
		if r.index > 0 {
			before = latest[r.session]
		}
		latest[r.session] = int32(i)
		t.At, t.Before = append(t.At, r.at), append(t.Before, before)
	}
	return t
}

// sessionsOf are the sessions of an expansion, each the prompts of its requests.
func sessionsOf(t *testing.T, base *sweep.Traffic, speed float64) map[int32][]time.Duration {
	t.Helper()
	a := base.Arrivals(speed, sweep.MoreSessions)
	if len(a.At) != len(a.Prompts) || len(a.At) != len(a.Before) || !slices.IsSorted(a.At) || !a.OwnPace || a.Speed != speed {
		t.Fatalf("speed %v: %d times, %d prompts, %d before, own pace %v, called %v", speed, len(a.At), len(a.Prompts), len(a.Before), a.OwnPace, a.Speed)
	}
	out := map[int32][]time.Duration{}
	root := make([]int32, len(a.At))
	n := int32(len(base.At))
	for i, before := range a.Before {
		root[i] = a.Prompts[i]
		recorded := base.Before[a.Prompts[i]%n]
		if before >= 0 {
			if int(before) >= i || a.Prompts[before] != a.Prompts[i]/n*n+recorded {
				t.Fatalf("speed %v: request %d waits for %d, the recorded one for %d", speed, i, a.Prompts[before], recorded)
			}
			root[i] = root[before]
			if gap := base.At[a.Prompts[i]%n] - base.At[recorded]; a.At[i]-a.At[before] != gap {
				t.Errorf("speed %v: a gap of %v in a session became %v", speed, gap, a.At[i]-a.At[before])
			}
		} else if recorded >= 0 {
			t.Fatalf("speed %v: request %d waits for none", speed, i)
		}
		out[root[i]] = append(out[root[i]], a.At[i])
	}
	return out
}

// As many requests as the speed says, whole sessions at their own pace, near where they
// were recorded.
func TestMoreSessions(t *testing.T) {
	base := talks(400) // 1200 requests
	n := int32(len(base.At))
	for _, speed := range []float64{0.013, 0.25, 0.37, 0.5, 0.61, 0.83, 1, 1.3, 2, 2.75, 7.9} {
		got := sessionsOf(t, base, speed)
		requests := 0
		for first, times := range got {
			requests += len(times)
			shift := (times[0] - base.At[first%n]).Abs()
			if first < n && shift != 0 || shift > 30*time.Second || times[0] < 0 || times[0] > base.Span() {
				t.Errorf("speed %v: session %d begins at %v, recorded at %v", speed, first, times[0], base.At[first%n])
			}
		}
		if want := speed * float64(n); math.Abs(float64(requests)-want) > 2.5 { // the longest session has five
			t.Errorf("speed %v: %d requests, want %v", speed, requests, want)
		}
	}
	// Those that are taken come from everywhere.
	half := base.Arrivals(0.5, sweep.MoreSessions)
	if middle := half.At[len(half.At)/2]; middle < 150*time.Second || middle > 290*time.Second {
		t.Errorf("of half the sessions the middle request comes at %v of %v", middle, base.Span())
	}
	moved := 0
	for first, times := range sessionsOf(t, base, 2) {
		if first >= n && times[0] != base.At[first-n] {
			moved++
		}
	}
	if moved < 390 {
		t.Errorf("%d of 400 copies begin beside the original", moved)
	}
}

// A higher speed has everything of a lower one, at the same times.
func TestMoreSessionsAreNested(t *testing.T) {
	base := talks(120)
	speeds := []float64{0.1, 0.33, 0.9, 1, 1.01, 1.6, 2.2, 3}
	for i, speed := range speeds[1:] {
		less, more := sessionsOf(t, base, speeds[i]), sessionsOf(t, base, speed)
		if len(more) <= len(less) {
			t.Errorf("%d sessions at %v, %d at %v", len(less), speeds[i], len(more), speed)
		}
		for first, times := range less {
			if !slices.Equal(more[first], times) {
				t.Errorf("session %d comes at %v at speed %v, at %v at %v", first, times, speeds[i], more[first], speed)
			}
		}
	}
	other := *base
	other.Seed = 8
	if slices.Equal(base.Arrivals(0.5, sweep.MoreSessions).Prompts, other.Arrivals(0.5, sweep.MoreSessions).Prompts) {
		t.Error("another seed takes the same sessions")
	}
	if !slices.Equal(base.Arrivals(0.5, sweep.MoreSessions).Prompts, base.Arrivals(0.5, sweep.MoreSessions).Prompts) {
		t.Error("the same seed takes other sessions")
	}
}

// Requests outside sessions are sessions of their own, and at least one is sent.
func TestMoreOfSingleRequests(t *testing.T) {
	base := &sweep.Traffic{At: []time.Duration{0, time.Second, 5 * time.Second, 5 * time.Second}}
	if a := base.Arrivals(0.01, sweep.MoreSessions); len(a.At) != 1 || a.Before != nil {
		t.Errorf("%+v", a)
	}
	if a := base.Arrivals(1, sweep.MoreSessions); !slices.Equal(a.At, base.At) || !slices.Equal(a.Prompts, []int32{0, 1, 2, 3}) {
		t.Errorf("%+v", a)
	}
	a := base.Arrivals(1.75, sweep.MoreSessions)
	if copies := slices.DeleteFunc(slices.Clone(a.Prompts), func(p int32) bool { return p < 4 }); len(a.At) != 7 || len(copies) != 3 {
		t.Errorf("%+v", a)
	}
}

// Nothing is moved out of the recorded time.
func TestMoreSessionsStayInside(t *testing.T) {
	base := &sweep.Traffic{}
	for i := range 200 {
		base.At = append(base.At, time.Duration(i)*time.Second)
	}
	a := base.Arrivals(9, sweep.MoreSessions)
	if first, last := a.At[0], a.At[len(a.At)-1]; first < 0 || last > base.Span() {
		t.Errorf("from %v to %v, recorded up to %v", first, last, base.Span())
	}
}
