package analysis

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// synth is a closed-loop run against a server with slots and a FIFO queue, worked
// out event by event. True values: service s, m = min(N, slots), X = m/s,
// R = N/X, TTFT = (N-m) s/m + prefill.
type synth struct {
	n, requests int
	slots       int           // 0: no queue
	prefill     time.Duration // after the wait, before the first token
	decode      time.Duration // after the first token
	tokens      int
	cv          float64       // of the service time, gamma distributed
	lengthCV    float64       // of the output length; the decode time follows it
	stagger     time.Duration // over which the first N are sent; 0: all at once
	failEvery   int           // every k-th request is refused after refuse
	refuse      time.Duration
	pause       time.Duration // of a worker after each request
	drift       float64       // service time grows by this share over the requests
	stopAt      time.Duration // cancel what is in flight then
	seed        uint64
	overhead    func(i int) float64 // factor on the service time of request i
}

// service is the mean time in a slot.
func (c synth) service() time.Duration { return c.prefill + c.decode }

type freeAt []time.Duration

func (h freeAt) Len() int           { return len(h) }
func (h freeAt) Less(i, j int) bool { return h[i] < h[j] }
func (h freeAt) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *freeAt) Push(x any)        { *h = append(*h, x.(time.Duration)) }
func (h *freeAt) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func (c synth) run() loadgen.Run {
	rng := rand.New(rand.NewPCG(c.seed, 7))
	slots := c.slots
	if slots == 0 {
		slots = c.n
	}
	workers, servers := &freeAt{}, &freeAt{}
	for i := range c.n {
		var at time.Duration
		if c.stagger > 0 {
			at = c.stagger * time.Duration(i) / time.Duration(c.n)
		}
		heap.Push(workers, at)
	}
	for range slots {
		heap.Push(servers, time.Duration(0))
	}
	r := loadgen.Run{End: loadgen.EndComplete, Started: time.Unix(0, 0).UTC(),
		Load: loadgen.Load{Concurrency: c.n, Requests: c.requests, Start: loadgen.StartBurst}}
	if c.stagger > 0 {
		r.Load.Start, r.Load.StaggerOver = loadgen.StartStagger, c.stagger
	}
	for i := range c.requests {
		sent := heap.Pop(workers).(time.Duration)
		if c.stopAt > 0 && sent >= c.stopAt {
			break
		}
		s := c.request(i, sent, servers, rng)
		heap.Push(workers, s.End+c.pause)
		if c.stopAt > 0 && s.End > c.stopAt {
			s.Class, s.End = loadgen.Cancelled, c.stopAt
			r.End = loadgen.EndStopped
		}
		r.Elapsed = max(r.Elapsed, s.End)
		r.Samples = append(r.Samples, s)
	}
	return r
}

func (c synth) request(i int, sent time.Duration, servers *freeAt, rng *rand.Rand) loadgen.Sample {
	s := loadgen.Sample{Index: i, PromptIndex: i, Conversation: -1, CachedTokens: -1, Intended: sent, Ready: sent, Sent: sent,
		WasSent: true, WantPromptTokens: 512, WantOutputTokens: c.tokens, Status: 200}
	if c.failEvery > 0 && i%c.failEvery == c.failEvery-1 {
		s.Class, s.Status, s.Message = loadgen.HTTP429, 429, "too many requests"
		s.End = sent + c.refuse
		return s
	}
	begin := max(sent, heap.Pop(servers).(time.Duration))
	f := gamma(rng, c.cv) * (1 + c.drift*float64(i)/float64(c.requests))
	if c.overhead != nil {
		f *= c.overhead(i)
	}
	scale := func(d time.Duration) time.Duration { return time.Duration(f * float64(d)) }
	tokens := c.tokens
	decode := c.decode
	if c.lengthCV > 0 {
		tokens = max(2, int(math.Round(float64(c.tokens)*gamma(rng, c.lengthCV))))
		decode = c.decode * time.Duration(tokens-1) / time.Duration(c.tokens-1)
	}
	s.FirstOutput = begin + scale(c.prefill)
	s.FirstAnswer = s.FirstOutput
	s.LastOutput = s.FirstOutput + scale(decode)
	s.End = s.LastOutput
	s.Streamed, s.OutputEvents, s.OutputTokens = true, tokens, tokens
	s.WantOutputTokens = tokens
	s.PromptTokens, s.TokenSource = 512, loadgen.TokensFromUsage
	heap.Push(servers, s.End)
	return s
}

// gamma draws a factor of mean 1 with the given coefficient of variation
// (Marsaglia and Tsang 2000).
func gamma(rng *rand.Rand, cv float64) float64 {
	if cv == 0 {
		return 1
	}
	k := 1 / (cv * cv)
	shape, boost := k, 1.0
	if shape < 1 {
		shape, boost = shape+1, math.Pow(rng.Float64(), 1/k)
	}
	d := shape - 1.0/3
	for {
		x := rng.NormFloat64()
		v := 1 + x/math.Sqrt(9*d)
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-rng.Float64()) < 0.5*x*x+d-d*v+d*math.Log(v) {
			return d * v * boost / k
		}
	}
}

// skipStatistics skips a test that repeats a simulation many times where the race
// detector makes that slow: there is no concurrency here for it to look at.
func skipStatistics(t *testing.T) {
	t.Helper()
	if underRace {
		t.Skip("pure statistics: run without the race detector")
	}
}
