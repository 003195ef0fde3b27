package loadgen

import (
	"fmt"
	"slices"
	"time"
)

// Machine is one of several that send a load together.
type Machine struct {
	Weight float64 // its share, against the weights of the others
	Most   int     // requests in flight that it takes at most; 0: any number
}

// Even are n machines alike.
func Even(n int) []Machine {
	return slices.Repeat([]Machine{{Weight: 1}}, n)
}

// Share is the part of a load that one of several machines sends. Requests are dealt to
// slots in turn, so that each machine has as large a share of the requests as of the
// slots. The zero value is all of it.
type Share struct {
	Machine     int     // whose it is, by its place among those that it was dealt to
	Slots       []int32 // that are its own, rising; empty: all
	Concurrency int     // of all shares together
	Requests    int     // of all shares together; 0: as many as fit into the duration
}

func (s Share) part() bool { return len(s.Slots) > 0 }

// number is the number in the whole load of the share's i-th request.
func (s Share) number(i int) int {
	if !s.part() {
		return i
	}
	return i/len(s.Slots)*s.Concurrency + int(s.Slots[i%len(s.Slots)])
}

// has reports whether a request of the whole load is one of the share.
func (s Share) has(number int) bool {
	if !s.part() {
		return true
	}
	_, found := slices.BinarySearch(s.Slots, int32(number%s.Concurrency))
	return found
}

// Split cuts a load into shares for machines, which together send what one would: slots
// are dealt out by weight, in turn between machines alike, so that where their number
// divides the slots request i is sent by machine i mod n; an open loop's one schedule is
// cut, and the requests of a session stay together, on the machine that its first request
// falls to. A machine to which nothing falls has no share. The second value gives, for the
// i-th request of a share, its number in the load. The error is for machines that
// together take fewer requests in flight than the load has.
func (l Load) Split(machines []Machine) ([]Load, func(share, i int) int, error) {
	owners, err := deal(l.Concurrency, machines)
	if err != nil {
		return nil, nil, err
	}
	slots := make([][]int32, len(machines))
	for i, k := range owners {
		slots[k] = append(slots[k], int32(i))
	}
	var out []Load
	for k, own := range slots {
		if len(own) == 0 || l.Requests > 0 && int(own[0]) >= l.Requests {
			continue
		}
		part := l
		part.Share = Share{Machine: k, Slots: own, Concurrency: l.Concurrency, Requests: l.Requests}
		part.Concurrency = len(own)
		rest, _ := slices.BinarySearch(own, int32(l.Requests%l.Concurrency))
		part.Requests = l.Requests/l.Concurrency*len(own) + rest
		out = append(out, part)
	}
	if len(out) == 1 { // all of it
		out[0].Share, out[0].Requests = Share{Machine: out[0].Share.Machine}, l.Requests
		return out, func(_, i int) int { return i }, nil
	}
	if l.Arrivals != nil {
		loads, number := l.splitArrivals(out, machines)
		return loads, number, nil
	}
	return out, func(share, i int) int { return out[share].Share.number(i) }, nil
}

// deal gives out count things one after the other, each to the machine that is furthest
// behind its due, of those that may have more: machines alike have them in turn.
func deal(count int, machines []Machine) ([]int, error) {
	owners, behind, had := make([]int, count), make([]float64, len(machines)), make([]int, len(machines))
	for i := range owners {
		next, total := -1, 0.0
		for k, m := range machines {
			if m.Weight <= 0 || m.Most > 0 && had[k] >= m.Most {
				continue
			}
			total += m.Weight
			behind[k] += m.Weight
			if next < 0 || behind[k] > behind[next]+1e-9*m.Weight {
				next = k
			}
		}
		if next < 0 {
			return nil, fmt.Errorf("the machines together take at most %d requests in flight, and not %d", i, count)
		}
		owners[i] = next
		behind[next] -= total
		had[next]++
	}
	return owners, nil
}

// splitArrivals deals recorded requests out to those that have slots.
func (l Load) splitArrivals(parts []Load, machines []Machine) ([]Load, func(share, i int) int) {
	a := l.Arrivals
	home, local := make([]int, len(a.At)), make([]int32, len(a.At))
	numbers := make([][]int, len(parts))
	weights := make([]Machine, len(parts))
	for k := range parts {
		weights[k].Weight = machines[parts[k].Share.Machine].Weight
		parts[k].Share = Share{Machine: parts[k].Share.Machine}
		parts[k].Arrivals = &Arrivals{Speed: a.Speed, OwnPace: a.OwnPace, At: []time.Duration{}, Prompts: []int32{}}
		if a.Before != nil {
			parts[k].Arrivals.Before = []int32{}
		}
	}
	owners, _ := deal(len(a.At), weights) // without bounds it has no error
	for i, k := range owners {
		before := a.before(i)
		if before >= 0 {
			k = home[before]
		}
		to := parts[k].Arrivals
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
	for k := len(parts) - 1; k >= 0; k-- {
		if len(numbers[k]) == 0 { // all sessions fell to others
			parts, numbers = slices.Delete(parts, k, k+1), slices.Delete(numbers, k, k+1)
			continue
		}
		parts[k].Requests = len(numbers[k])
		parts[k].Rate = l.Rate * float64(len(numbers[k])) / float64(len(a.At))
	}
	n := len(parts)
	return parts, func(share, i int) int {
		if i < len(numbers[share]) {
			return numbers[share][i]
		}
		return len(a.At) + (i-len(numbers[share]))*n + share // a later turn
	}
}
