package simserver

import "math"

// station is one replica in closed form. Times in seconds.
type station struct {
	cfg           *Config // scaled
	input, output float64 // tokens of a prompt and of an answer, the mean
	uncached      float64 // share of the prompt that has to be computed
	slow          float64 // by how much everything takes longer than the config says
	scale         float64 // how many times the server is there: an autoscaler's
	slots         float64 // S over all of them, or what the KV cache holds if that is less
}

// flow is what goes through a server at one load.
type flow struct {
	throughput float64 // requests per second
	ttft, tpot float64 // mean over requests, s
}

// mixed returns the flow of two servers side by side, or of one that is in the
// first state for a share of the time and in the second for the rest: throughput is
// the sum, the times are means over requests.
func mixed(share float64, a, b flow) flow {
	x, y := share*a.throughput, (1-share)*b.throughput
	if x+y == 0 {
		return flow{}
	}
	return flow{throughput: x + y, ttft: (x*a.ttft + y*b.ttft) / (x + y), tpot: (x*a.tpot + y*b.tpot) / (x + y)}
}

// memory returns how many requests the KV cache holds on the mean:
// K / (P + L (1+c^2)/2).
func (s station) memory() float64 {
	if s.cfg.KVTokens == 0 {
		return math.Inf(1)
	}
	c := s.cfg.LengthSpread
	return float64(s.cfg.KVTokens) / (s.input + s.output*(1+c*c)/2)
}

// firstToken returns p(x), what grows with the prompt included.
func (s station) firstToken(x float64) float64 {
	p := s.cfg.prefillAt(x/s.scale) / 1e9
	if s.cfg.USL.Lambda == 0 {
		p += s.cfg.PrefillPerToken.Seconds() * s.input
	}
	return p * s.uncached * s.slow
}

// decode returns (L-1) t(x).
func (s station) decode(x float64) float64 {
	work := s.output - 1
	if s.cfg.USL.Lambda > 0 {
		work = 1
	}
	return work * s.cfg.stepAt(x/s.scale) / 1e9 * s.slow
}

// at returns the flow with n requests here: m = min(n, S) running,
// s(m) = p(m) + (L-1) t(m), X = m/s(m), TTFT = (n-m) s(m)/m + p(m).
func (s station) at(n float64) flow {
	if n <= 0 {
		return flow{}
	}
	m := min(n, s.slots)
	p, d := s.firstToken(m), s.decode(m)
	return flow{throughput: m / (p + d), ttft: (n-m)*(p+d)/m + p, tpot: d / max(1, s.output-1)}
}

// shared returns the flow at a load that is no whole number: the mean of a station
// that has now one more and now one less, as the whole numbers beside it say.
func (s station) shared(n float64) flow {
	low := math.Floor(n)
	return mixed(n-low, s.at(low+1), s.at(low))
}

// coefficients returns A, B and C of s(x) = A + B x + C x^2, which it is where
// batches are not padded.
func (s station) coefficients() (a, b, c float64) {
	if u := s.cfg.USL; u.Lambda > 0 {
		alone := 1/u.Lambda - s.cfg.Prefill.Seconds()*(1-s.uncached)
		a, b, c = alone*(1-u.Sigma), alone*(u.Sigma-u.Kappa), alone*u.Kappa
	} else {
		steps := s.output - 1
		a = s.uncached*(s.cfg.Prefill.Seconds()+s.cfg.PrefillPerToken.Seconds()*s.input) + steps*s.cfg.StepTime.Seconds()
		b = s.uncached*s.cfg.PrefillPerRequest.Seconds() + steps*s.cfg.StepTimePerRequest.Seconds()
	}
	return a * s.slow, b * s.slow / s.scale, c * s.slow / (s.scale * s.scale)
}

// peak returns where X is highest if nothing but s(x) counts: sqrt(A/C).
func (s station) peak() float64 {
	a, _, c := s.coefficients()
	if c == 0 {
		return math.Inf(1)
	}
	return math.Sqrt(a / c)
}

// elastic returns the largest n at which s(x) alone leaves an elasticity of at
// least e: the root of C(1+e) n^2 + B e n - A(1-e) = 0.
func (s station) elastic(e float64) float64 {
	a, b, c := s.coefficients()
	a, b, c = c*(1+e), b*e, a*(1-e)
	if a == 0 && b == 0 {
		return math.Inf(1)
	}
	return 2 * c / (b + math.Sqrt(b*b+4*a*c))
}
