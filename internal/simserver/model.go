package simserver

import (
	"math"
	"time"
)

// model is the server in closed form: who gets in, and what the servers behind do
// with them. Times in seconds.
type model struct {
	cfg     Config  // scaled, without what outside names
	hold    float64 // of a client after an error
	servers cluster
	when    []string // which state it is in
	outside []string // settings that have no closed form
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

// PointOf returns the steady state of a closed loop at concurrency n; where the
// server changes, that of its later state, as TruthOf takes it. Where its speed
// wanders, the point is the mean over a long run.
func PointOf(cfg Config, r Rules, n int) Point {
	return newModel(cfg, r, laterState(cfg)).at(float64(n))
}

// PointAt returns the same for the state that a server which changes is in at a
// time t after its start, if concurrency was n since then. (Only what an autoscaler
// waits for depends on that; where load came to its mark later, t counts from there.)
func PointAt(cfg Config, r Rules, n int, t time.Duration) Point {
	return newModel(cfg, r, stateAt(cfg, n, t)).at(float64(n))
}

func newModel(cfg Config, r Rules, now state) *model {
	w := r.Workload.withDefaults()
	cfg = cfg.scaled()
	m := &model{hold: r.ErrorHold.Seconds(), when: now.when}
	uncached, known := cfg.uncached(w)
	switch {
	case !known:
		m.outside = append(m.outside, "prefix_cache")
	case uncached < 1:
		m.when = append(m.when, "with a warm prefix cache")
	}
	m.leaveOut(&cfg)
	m.cfg = cfg
	m.servers.balance = cfg.Replicas.Balance
	for i := range cfg.Replicas.count() {
		s := station{
			cfg: &m.cfg, input: float64(w.InputLen), output: float64(w.OutputLen), uncached: uncached,
			slow: now.slow * cfg.Bimodal.slow() / cfg.Replicas.speed(i), scale: now.scale, slots: math.Inf(1),
		}
		if n := cfg.Replicas.slots(i, cfg.Slots); n > 0 {
			s.slots = math.Round(float64(n) * now.scale)
		}
		s.slots = min(s.slots, s.memory())
		m.servers.stations = append(m.servers.stations, s)
	}
	return m
}

// leaveOut takes out of the config what has no closed form together with the rest
// of it, and notes what that was.
func (m *model) leaveOut(cfg *Config) {
	without := func(on bool, name string, off func()) {
		if on {
			m.outside = append(m.outside, name)
			off()
		}
	}
	padded, many := cfg.padded(), len(cfg.Replicas.Speeds) > 1
	// Neither a rate nor a pause slows down with the server: their means are not those
	// of the mean server.
	own := cfg.RateLimit.PerSecond > 0 || cfg.ErrorRate != (ErrorRate{})
	without(own && cfg.Wander.Share > 0, "wander", func() { cfg.Wander = Wander{} })
	without(own && cfg.Bimodal.Share > 0, "bimodal", func() { cfg.Bimodal = Bimodal{} })
	without(padded && many && cfg.Replicas.Balance != LeastConnections, "replicas", func() { cfg.Replicas = Replicas{} })
	without(padded && cfg.RateLimit.PerSecond > 0, "rate_limit", func() { cfg.RateLimit = RateLimit{} })
	without(padded && cfg.ErrorRate != (ErrorRate{}), "error_rate", func() { cfg.ErrorRate = ErrorRate{} })
	without(many && cfg.bounded(), "queue_cap", func() { cfg.QueueCap = nil })
	without(many && cfg.KVTokens > 0, "kv_tokens", func() { cfg.KVTokens = 0 })
	without(len(cfg.Faults) > 0, "faults", func() {})
}

// smooth reports whether throughput is one formula from one request up to where it
// stops growing.
func (m *model) smooth() bool { return !m.cfg.padded() && len(m.servers.stations) == 1 }

// full returns how many have to be in the server for every slot to be taken.
func (m *model) full() (n float64) {
	for _, s := range m.servers.stations {
		n = max(n, s.slots*float64(len(m.servers.stations)))
	}
	return n
}

// throughput returns X with n in the server.
func (m *model) throughput(n float64) float64 { return m.servers.at(n).throughput }

// limited returns how many in the server make the rate limiter's throughput.
func (m *model) limited() float64 {
	rate := m.cfg.RateLimit.PerSecond
	top := min(m.full(), m.servers.stations[0].peak(), 1e9)
	if rate <= 0 || m.throughput(top) <= rate {
		return math.Inf(1)
	}
	return bisect(0, top, func(n float64) bool { return m.throughput(n) <= rate })
}

// room returns the most that the server lets in.
func (m *model) room() float64 {
	room := m.limited()
	if m.cfg.bounded() {
		room = min(room, m.full()+float64(*m.cfg.QueueCap))
	}
	return room
}

// mostAlive returns the most requests the server survives.
func (m *model) mostAlive() float64 {
	if m.cfg.CrashAt == 0 || m.room() < float64(m.cfg.CrashAt) {
		return math.Inf(1)
	}
	return float64(m.cfg.CrashAt - 1)
}

// users returns how many clients in a closed loop keep n in the server: those
// whose request failed by chance hold, and are not in it.
func (m *model) users(n float64) float64 {
	q := m.cfg.ErrorRate.atMean(n)
	switch {
	case q == 0:
		return n
	case q >= 1:
		return math.Inf(1)
	}
	return n + q/(1-q)*m.throughput(n)*(m.cfg.ErrorRate.After.Seconds()+m.hold)
}

// at returns the steady state of users clients without think time.
func (m *model) at(users float64) Point {
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
	f := m.servers.at(n)
	return Point{
		Alive: true, Success: m.success(n, f.throughput, excess),
		Throughput: f.throughput, TTFT: f.ttft, TPOT: f.tpot, E2E: n / f.throughput,
	}
}

// success returns the share of requests served when excess clients are turned
// away again and again, each time after the refusal's own time and the hold.
func (m *model) success(n, x, excess float64) float64 {
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
func (m *model) resources() Bound {
	at := m.mostAlive()
	if m.cfg.KVTokens > 0 {
		if s := m.servers.stations[0]; s.memory() <= s.slots {
			at = min(at, s.memory())
		}
	}
	return bound(at, math.Inf(1))
}

// largest returns the largest concurrency at which ok holds; ok must not hold
// again once it has failed.
func (m *model) largest(ok func(Point) bool) Bound {
	const most = 1e7
	if ok(m.at(most)) {
		return Bound{}
	}
	at := bisect(0, most, func(n float64) bool { return ok(m.at(n)) })
	return bound(at, math.Inf(1))
}

// worth returns the largest concurrency that is worth having where throughput
// follows no one formula: N with the highest X(N)/N^e. From there no more
// concurrency brings the gain per doubling that e stands for, and from any less up
// to there does; where the curve is smooth that is where its elasticity is e. Right
// are the answers from the first to the last that come as close to it as no
// measurement can tell.
func (m *model) worth(e float64) Bound {
	const far, most = 4, 100_000
	b := Bound{Reached: true, N: 1}
	value := []float64{0}
	for n := 1; float64(n) <= min(most, m.full()) && n <= far*(b.N+1); n++ {
		value = append(value, m.throughput(min(float64(n), m.limited()))/math.Pow(float64(n), e))
		if value[n] > value[b.N]*(1+1e-12) {
			b.N = n
		}
	}
	b.At = float64(b.N)
	if b.N > most/far || b.At > m.mostAlive() {
		return Bound{}
	}
	for n, v := range value {
		if v < value[b.N]*(1-resolved) {
			continue
		}
		if b.High = n; b.Low == 0 {
			b.Low = n
		}
	}
	return b
}

// resolved is the least difference between two loads that a measurement can tell,
// share of 1: that of one and the same load from run to run.
const resolved = 0.005

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
