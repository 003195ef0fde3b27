package loadgen

import (
	"slices"
	"time"
)

// Share is the part of a load that one of several machines sends. Slots are dealt out to
// them in turn, and requests to slots in turn, so that each machine has as large a share
// of the requests as of the slots. The zero value is all of it.
type Share struct {
	Index, Of   int
	Concurrency int // of all shares together
	Requests    int // of all shares together; 0: as many as fit into the duration
}

// number is the number in the whole load of the share's i-th request.
func (s Share) number(i int) int {
	if s.Of < 2 {
		return i
	}
	slots := dealt(s.Concurrency, s.Index, s.Of)
	return i/slots*s.Concurrency + i%slots*s.Of + s.Index
}

// has reports whether a request of the whole load is one of the share.
func (s Share) has(number int) bool {
	return s.Of < 2 || number%s.Concurrency%s.Of == s.Index
}

// Split cuts a load into shares for that many machines, which together send what one
// would: where n divides the slots request i is sent by machine i mod n, an open loop's
// one schedule is cut, and the requests of a session stay together, on the
// machine that its first request falls to. There are fewer shares where there are fewer
// slots, requests or sessions than machines. The second value gives, for the i-th request of a
// share, its number in the load.
func (l Load) Split(n int) ([]Load, func(share, i int) int) {
	n = min(n, l.Concurrency)
	if l.Requests > 0 {
		n = min(n, l.Requests)
	}
	if n < 2 {
		return []Load{l}, func(_, i int) int { return i }
	}
	if l.Arrivals != nil {
		return l.splitArrivals(n)
	}
	out := make([]Load, n)
	for k := range out {
		part := l
		part.Share = Share{Index: k, Of: n, Concurrency: l.Concurrency, Requests: l.Requests}
		part.Concurrency = dealt(l.Concurrency, k, n)
		part.Requests = l.Requests/l.Concurrency*part.Concurrency + dealt(l.Requests%l.Concurrency, k, n)
		out[k] = part
	}
	return out, func(share, i int) int { return out[share].Share.number(i) }
}

// dealt is how many of count fall to the k-th of n in turn.
func dealt(count, k, n int) int { return (count - k + n - 1) / n }

// splitArrivals deals recorded requests out.
func (l Load) splitArrivals(n int) ([]Load, func(share, i int) int) {
	a := l.Arrivals
	home, local := make([]int, len(a.At)), make([]int32, len(a.At))
	numbers := make([][]int, n)
	out := make([]Load, n)
	for k := range out {
		out[k] = l
		out[k].Concurrency = dealt(l.Concurrency, k, n)
		out[k].Arrivals = &Arrivals{Speed: a.Speed, OwnPace: a.OwnPace, At: []time.Duration{}, Prompts: []int32{}}
		if a.Before != nil {
			out[k].Arrivals.Before = []int32{}
		}
	}
	for i := range a.At {
		k := i % n
		before := a.before(i)
		if before >= 0 {
			k = home[before]
		}
		to := out[k].Arrivals
		home[i], local[i] = k, int32(len(to.At))
		to.At, to.Prompts = append(to.At, a.At[i]), append(to.Prompts, int32(a.prompt(i)))
		if a.Before != nil {
			if before >= 0 {
				before = int(local[before])
			}
			to.Before = append(to.Before, int32(before))
		}
		numbers[k] = append(numbers[k], i)
	}
	for k := n - 1; k >= 0; k-- {
		if len(numbers[k]) == 0 { // all sessions fell to others
			out, numbers = slices.Delete(out, k, k+1), slices.Delete(numbers, k, k+1)
			continue
		}
		out[k].Requests = len(numbers[k])
		out[k].Rate = l.Rate * float64(len(numbers[k])) / float64(len(a.At))
	}
	return out, func(share, i int) int {
		if i < len(numbers[share]) {
			return numbers[share][i]
		}
		return len(a.At) + (i-len(numbers[share]))*n + share // a later turn
	}
}
