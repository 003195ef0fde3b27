package simserver

import "math"

// model is the server in closed form. Times in seconds.
type model struct {
	cfg    Config  // scaled
	hold   float64 // of a client after an error
	input  float64 // prompt tokens
	output float64 // mean output tokens
	// s(x) = a + b x + c x^2: a request's time in its slot with x running.
	a, b, c float64
}

// Point is the steady state at one concurrency.
type Point struct {
	Alive      bool    // false: the server crashes at this concurrency
	Success    float64 // share of 1
	Throughput float64 // successes per second
	TTFT       float64 // mean, s
	TPOT       float64 // s
	E2E        float64 // mean of successes, s
}

// PointOf returns the steady state of a closed loop at concurrency n.
func PointOf(cfg Config, r Rules, n int) Point { return newModel(cfg, r).at(float64(n)) }

func newModel(cfg Config, r Rules) model {
	w := r.Workload.withDefaults()
	cfg = cfg.scaled()
	m := model{cfg: cfg, hold: r.ErrorHold.Seconds(), input: float64(w.InputLen), output: float64(w.OutputLen)}
	if u := cfg.USL; u.Lambda > 0 {
		m.a, m.b, m.c = (1-u.Sigma)/u.Lambda, (u.Sigma-u.Kappa)/u.Lambda, u.Kappa/u.Lambda
		return m
	}
	steps := m.output - 1
	m.a = cfg.Prefill.Seconds() + cfg.PrefillPerToken.Seconds()*m.input + steps*cfg.StepTime.Seconds()
	m.b = cfg.PrefillPerRequest.Seconds() + steps*cfg.StepTimePerRequest.Seconds()
	return m
}

// slot returns s(x).
func (m model) slot(x float64) float64 { return m.a + m.b*x + m.c*x*x }

// firstToken returns p(x), what grows with the prompt included.
func (m model) firstToken(x float64) float64 {
	p := m.cfg.prefillAt(x) / 1e9
	if m.cfg.USL.Lambda == 0 {
		p += m.cfg.PrefillPerToken.Seconds() * m.input
	}
	return p
}

// slots returns how many can run at once: S, or what the KV cache holds on the
// mean, K / (P + L (1+c^2)/2), whichever is less.
func (m model) slots() float64 {
	s := math.Inf(1)
	if m.cfg.Slots > 0 {
		s = float64(m.cfg.Slots)
	}
	return min(s, m.memory())
}

func (m model) memory() float64 {
	if m.cfg.KVTokens == 0 {
		return math.Inf(1)
	}
	c := m.cfg.LengthSpread
	return float64(m.cfg.KVTokens) / (m.input + m.output*(1+c*c)/2)
}

// throughput returns X with n in the server.
func (m model) throughput(n float64) float64 {
	x := min(n, m.slots())
	return x / m.slot(x)
}

// peak returns where X is highest if nothing but s(x) counts: sqrt(a/c).
func (m model) peak() float64 {
	if m.c == 0 {
		return math.Inf(1)
	}
	return math.Sqrt(m.a / m.c)
}

// limited returns how many in the server make the rate limiter's throughput.
func (m model) limited() float64 {
	rate := m.cfg.RateLimit.PerSecond
	top := min(m.slots(), m.peak(), 1e9)
	if rate <= 0 || m.throughput(top) <= rate {
		return math.Inf(1)
	}
	return bisect(0, top, func(n float64) bool { return m.throughput(n) <= rate })
}

// kink returns where throughput stops growing for reasons other than s(x).
func (m model) kink() float64 { return min(m.slots(), m.limited()) }

// room returns the most that the server lets in.
func (m model) room() float64 {
	room := m.limited()
	if m.cfg.bounded() {
		room = min(room, m.slots()+float64(*m.cfg.QueueCap))
	}
	return room
}

// mostAlive returns the most requests the server survives.
func (m model) mostAlive() float64 {
	if m.cfg.CrashAt == 0 || m.room() < float64(m.cfg.CrashAt) {
		return math.Inf(1)
	}
	return float64(m.cfg.CrashAt - 1)
}

// elastic returns the largest n at which s(x) alone leaves an elasticity of at
// least e: the root of C(1+e) n^2 + B e n - A(1-e) = 0.
func (m model) elastic(e float64) float64 {
	a, b, c := m.c*(1+e), m.b*e, m.a*(1-e)
	if a == 0 && b == 0 {
		return math.Inf(1)
	}
	return 2 * c / (b + math.Sqrt(b*b+4*a*c))
}

// users returns how many clients in a closed loop keep n in the server: those
// whose request failed by chance hold, and are not in it.
func (m model) users(n float64) float64 {
	q := m.cfg.ErrorRate.atMean(n)
	if q >= 1 {
		return math.Inf(1)
	}
	return n + q/(1-q)*m.throughput(n)*(m.cfg.ErrorRate.After.Seconds()+m.hold)
}

// at returns the steady state of users clients without think time.
func (m model) at(users float64) Point {
	n := min(users, m.room())
	excess := 0.0
	if m.users(n) > users {
		n = bisect(0, n, func(x float64) bool { return m.users(x) <= users })
	} else {
		excess = users - m.users(n)
	}
	if n > m.mostAlive()*(1+1e-9) {
		return Point{}
	}
	running := min(n, m.slots())
	s, x := m.slot(running), m.throughput(n)
	p := Point{Alive: true, Throughput: x}
	p.TTFT = (n-running)*s/running + m.firstToken(running)
	p.E2E = n / x
	p.TPOT = (s - m.firstToken(running)) / (m.output - 1)
	p.Success = m.success(n, x, excess)
	return p
}

// success returns the share of requests served when excess clients are turned
// away again and again, each time after the refusal's own time and the hold.
func (m model) success(n, x, excess float64) float64 {
	sent := x / (1 - m.cfg.ErrorRate.atMean(n))
	if excess > 1e-9*n {
		reject := m.cfg.QueueRejectAfter
		if m.limited() <= m.room() {
			reject = m.cfg.RateLimit.RejectAfter
		}
		sent += excess / (reject.Seconds() + m.hold)
	}
	return x / sent
}

// resources returns where the server runs out of memory or dies.
func (m model) resources() Bound {
	at := m.mostAlive()
	if mem := m.memory(); mem <= m.slots() {
		at = min(at, mem)
	}
	return bound(at, math.Inf(1))
}

// largest returns the largest concurrency at which ok holds; ok must not hold
// again once it has failed.
func (m model) largest(ok func(Point) bool) Bound {
	const most = 1e7
	if ok(m.at(most)) {
		return Bound{}
	}
	at := bisect(0, most, func(n float64) bool { return ok(m.at(n)) })
	return Bound{Reached: true, At: at, N: whole(at)}
}

// bisect returns the largest x in [lo, hi] with ok(x), ok holding at lo.
func bisect(lo, hi float64, ok func(float64) bool) float64 {
	for range 200 {
		mid := lo + (hi-lo)/2
		if mid == lo || mid == hi {
			break
		}
		if ok(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// outside lists the settings that have no closed form here.
func (m model) outside() []string {
	var out []string
	for _, s := range []struct {
		on   bool
		name string
	}{
		{m.cfg.ColdStart > 0, "cold_start"},
		{m.cfg.Warmup.Requests > 0, "warmup"},
		{m.cfg.Leak.Share > 0, "leak"},
		{m.cfg.Autoscaler.Factor > 0, "autoscaler"},
		{m.cfg.NoisyNeighbour.Share > 0, "noisy_neighbour"},
		{m.cfg.Bimodal.Share > 0, "bimodal"},
		{m.cfg.PrefixCache.Tokens > 0, "prefix_cache"},
		{len(m.cfg.Faults) > 0, "faults"},
	} {
		if s.on {
			out = append(out, s.name)
		}
	}
	return out
}
