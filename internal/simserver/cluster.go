package simserver

import "math"

// cluster is the server in closed form as far as time goes: its replicas and how
// requests are spread over them.
type cluster struct {
	stations []station
	balance  Balance
}

// at returns the flow with n requests in the server. A whole number of them is
// exact where the balancer keeps the replicas' numbers equal; with requests handed
// out in turn it is the fluid limit, in which arrivals are evenly spaced.
func (c cluster) at(n float64) flow {
	switch {
	case len(c.stations) == 1:
		return c.stations[0].at(n)
	case c.balance == LeastConnections:
		low := math.Floor(n)
		if n == low {
			return c.equal(int(n))
		}
		return between(n-low, c.equal(int(low)), c.equal(int(low)+1))
	}
	return c.inTurn(n)
}

// between interpolates from a to b.
func between(share float64, a, b flow) flow {
	mean := func(a, b float64) float64 { return a + share*(b-a) }
	return flow{throughput: mean(a.throughput, b.throughput), ttft: mean(a.ttft, b.ttft), tpot: mean(a.tpot, b.tpot)}
}

// equal returns the flow where every replica has equally many requests, but for r
// of them that have one more. Such an extra leaves its replica when a request there
// ends, and goes to one of those without, whichever chance takes: with 1/X of the
// full replicas as weights the states have a product form.
func (c cluster) equal(n int) flow {
	k := len(c.stations)
	q, r := n/k, n%k
	stays := make([]float64, k)
	for i, s := range c.stations {
		stays[i] = 1 / s.at(float64(q+1)).throughput
	}
	var all flow
	for i, s := range c.stations {
		share := 0.0
		if r > 0 {
			share = stays[i] * choices(stays, i, r-1) / choices(stays, -1, r)
		}
		all = plus(all, mixed(share, s.at(float64(q+1)), s.at(float64(q))))
	}
	return all
}

// choices sums the products of the weights over every way to take r of them, the
// one at without left out.
func choices(weights []float64, without, r int) float64 {
	sums := make([]float64, r+1)
	sums[0] = 1
	for i, w := range weights {
		if i == without {
			continue
		}
		for k := r; k > 0; k-- {
			sums[k] += w * sums[k-1]
		}
	}
	return sums[r]
}

// plus returns two flows together.
func plus(a, b flow) flow {
	sum := mixed(0.5, a, b)
	sum.throughput *= 2
	return sum
}

// inTurn returns the flow where each replica gets the same share of the arrivals.
// Then all have the same throughput, the numbers in them are what that takes, and
// what is left over waits at the slowest: solved for the throughput at which the
// numbers add up to n.
func (c cluster) inTurn(n float64) flow {
	held := func(each float64) (sum float64) {
		for _, s := range c.stations {
			sum += s.holding(each, n)
		}
		return sum
	}
	most := math.Inf(1) // that the slowest can do
	for _, s := range c.stations {
		most = min(most, s.shared(min(n, s.slots)).throughput)
	}
	each, left := most, n-held(most)
	if left < 0 {
		each, left = bisect(0, most, func(x float64) bool { return held(x) <= n }), 0
	}
	slowest := 0.0
	for _, s := range c.stations {
		if s.holding(each, n) == s.slots {
			slowest++
		}
	}
	var all flow
	for _, s := range c.stations {
		here := s.holding(each, n)
		f := s.shared(here)
		if here == s.slots {
			f = s.at(here + left/slowest)
		}
		f.throughput = each
		all = plus(all, f)
	}
	return all
}

// holding returns the least number of requests, n at most, with which a replica
// without a queue has that throughput.
func (s station) holding(throughput, n float64) float64 {
	top := min(n, s.slots)
	if s.shared(top).throughput <= throughput*(1+1e-12) {
		return top
	}
	a, b, _ := s.coefficients()
	q := math.Floor(throughput * a / (1 - throughput*b)) // x/s(x) is as much between this whole number and the next
	low, high := s.at(q).throughput, s.at(q+1).throughput
	return q + (throughput-low)/(high-low)
}
