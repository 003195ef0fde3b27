package loadgen

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// What the shares send together is what one machine would send.
func TestSharesAreTheWholeLoad(t *testing.T) {
	for _, c := range []struct{ concurrency, requests, machines int }{{8, 80, 1}, {8, 80, 2}, {5, 50, 2}, {5, 53, 3}, {2, 20, 4}, {7, 3, 4}, {100, 1000, 3}} {
		l := Load{Concurrency: c.concurrency, Requests: c.requests}
		shares, number, err := l.Split(Even(c.machines))
		if err != nil {
			t.Fatal(err)
		}
		slots := 0
		var all []int
		for k, s := range shares {
			slots += s.Concurrency
			if ideal := float64(c.requests) * float64(s.Concurrency) / float64(c.concurrency); math.Abs(float64(s.Requests)-ideal) >= 1.01 && c.requests > c.concurrency {
				t.Errorf("%+v: %d requests for %d slots, %.1f would be its share", c, s.Requests, s.Concurrency, ideal)
			}
			for i := range s.Requests {
				n := number(k, i)
				if n != s.Share.number(i) || !s.Share.has(n) {
					t.Fatalf("%+v: request %d of share %d is %d and %d", c, i, k, n, s.Share.number(i))
				}
				all = append(all, n)
			}
		}
		slices.Sort(all)
		if len(all) != c.requests || all[0] != 0 || all[len(all)-1] != c.requests-1 || len(slices.Compact(all)) != c.requests || slots != min(c.concurrency, max(slots, 0)) {
			t.Errorf("%+v: %d requests from %d to %d over %d slots", c, len(all), all[0], all[len(all)-1], slots)
		}
	}
}

// An open loop's one schedule is cut, whatever the number of machines.
func TestSharesOfASchedule(t *testing.T) {
	whole := Load{Concurrency: 50, Requests: 200, Rate: 20, Seed: 7}
	want := dues(whole, 200)
	for _, machines := range []int{2, 3} {
		shares, number, err := whole.Split(Even(machines))
		if err != nil {
			t.Fatal(err)
		}
		got := make([]time.Duration, 200)
		for k, s := range shares {
			for i, due := range dues(s, s.Requests) {
				got[number(k, i)] = due
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d machines: another schedule", machines)
		}
	}
}

func dues(l Load, n int) []time.Duration {
	s := newSchedule(l)
	out := make([]time.Duration, n)
	for i := range out {
		_, out[i], _ = s.next()
	}
	return out
}

// The requests of a session stay on one machine and keep their order.
func TestSharesOfRecordedTraffic(t *testing.T) {
	a := &Arrivals{Speed: 2}
	for i := range 90 {
		a.At = append(a.At, time.Duration(i)*time.Second)
		before := int32(-1)
		if i >= 30 && i%3 == 0 { // every third request belongs to one of ten sessions
			before = int32(i - 30)
		}
		a.Before = append(a.Before, before)
		a.Prompts = append(a.Prompts, int32(90-i))
	}
	shares, number, err := Load{Concurrency: 100, Requests: 90, Rate: 1, Arrivals: a}.Split(Even(4))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for k, s := range shares {
		if err := s.validate(); err != nil {
			t.Fatal(err)
		}
		for i := range s.Requests {
			n := number(k, i)
			seen[n] = true
			if s.Arrivals.due(i) != a.due(n) || s.Arrivals.prompt(i) != a.prompt(n) {
				t.Errorf("request %d: due %v with prompt %d, want %v and %d", n, s.Arrivals.due(i), s.Arrivals.prompt(i), a.due(n), a.prompt(n))
			}
			before := s.Arrivals.before(i)
			if before >= 0 {
				before = number(k, before)
			}
			if before != a.before(n) {
				t.Errorf("request %d waits for %d, want %d", n, before, a.before(n))
			}
		}
	}
	if len(seen) != 90 {
		t.Errorf("%d of 90 requests", len(seen))
	}
}

// A machine to which no session falls has no share, and the others keep their numbers.
func TestSharesOfFewSessions(t *testing.T) {
	a := &Arrivals{At: make([]time.Duration, 4), Before: []int32{-1, 0, -1, 2}}
	shares, number, err := Load{Concurrency: 10, Requests: 4, Arrivals: a}.Split(Even(3))
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for k, s := range shares {
		if err := s.validate(); err != nil {
			t.Error(err)
		}
		for i := range s.Requests {
			got = append(got, number(k, i))
		}
	}
	if want := []int{0, 1, 2, 3}; len(shares) != 2 || !slices.Equal(got, want) {
		t.Errorf("%d shares with %v, want 2 with %v", len(shares), got, want)
	}
}

// Machines have slots and requests by their weights, a machine alike in turn with the
// others, and none more than it takes.
func TestSharesByWeight(t *testing.T) {
	l := Load{Concurrency: 100, Requests: 1000}
	for _, c := range []struct {
		machines []Machine
		want     []int
	}{
		{Even(4), []int{25, 25, 25, 25}},
		{[]Machine{{Weight: 2}, {Weight: 1}, {Weight: 1}}, []int{50, 25, 25}},
		{[]Machine{{Weight: 1}, {Weight: 0}, {Weight: 3}}, []int{25, 0, 75}},
		{[]Machine{{Weight: 1, Most: 10}, {Weight: 1}, {Weight: 2}}, []int{10, 30, 60}},
	} {
		shares, number, err := l.Split(c.machines)
		if err != nil {
			t.Fatal(err)
		}
		got, seen := make([]int, len(c.machines)), map[int]bool{}
		for k, s := range shares {
			got[s.Share.Machine] = s.Concurrency
			if s.Requests != 10*s.Concurrency {
				t.Errorf("%v: %d requests over %d slots", c.machines, s.Requests, s.Concurrency)
			}
			for i := range s.Requests {
				seen[number(k, i)] = true
			}
		}
		if !slices.Equal(got, c.want) || len(seen) != 1000 || seen[1000] {
			t.Errorf("%v: slots %v, want %v; %d requests", c.machines, got, c.want, len(seen))
		}
	}
	if _, _, err := l.Split([]Machine{{Weight: 1, Most: 10}, {Weight: 1, Most: 89}}); err == nil || !strings.Contains(err.Error(), "at most 99 requests in flight, and not 100") {
		t.Errorf("machines that take too few: %v", err)
	}
	alike, _, _ := l.Split(Even(3))
	if want := []int32{1, 4, 7}; !slices.Equal(alike[1].Share.Slots[:3], want) {
		t.Errorf("the second of three alike has slots %v, want %v", alike[1].Share.Slots[:3], want)
	}
}
