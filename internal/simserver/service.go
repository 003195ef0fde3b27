package simserver

import (
	"math"
	"sort"

	"github.com/capfind/capfind/internal/simserver/draw"
)

// What the config says of a request's service: what the core works by and the
// closed form is made of.

// prefillAt returns p(x) in ns, without what grows with the prompt.
func (c *Config) prefillAt(x float64) float64 {
	x = c.multiple(x)
	if c.USL.Lambda > 0 {
		return float64(c.Prefill) * c.USL.stretch(x)
	}
	return float64(c.Prefill) + float64(c.PrefillPerRequest)*x
}

// stepAt returns the ns of one unit of decode work with x running: t(x) per
// token, or with USL the stretch of the whole decode time.
func (c *Config) stepAt(x float64) float64 {
	x = c.captured(c.multiple(x))
	if c.USL.Lambda > 0 {
		return (1e9/c.USL.Lambda - float64(c.Prefill)) * c.USL.stretch(x)
	}
	return float64(c.StepTime) + float64(c.StepTimePerRequest)*x
}

// padded reports whether batches are.
func (c Config) padded() bool { return c.BatchMultiple > 1 || len(c.BatchSizes) > 0 }

// multiple returns the batch that x requests are padded to.
func (c *Config) multiple(x float64) float64 {
	if c.BatchMultiple < 2 {
		return x
	}
	k := float64(c.BatchMultiple)
	return math.Ceil(x/k) * k
}

// captured returns the next batch size up that the engine was prepared for; above
// the largest it runs the batch as it is.
func (c *Config) captured(x float64) float64 {
	if len(c.BatchSizes) == 0 {
		return x
	}
	if i := sort.Search(len(c.BatchSizes), func(i int) bool { return float64(c.BatchSizes[i]) >= x }); i < len(c.BatchSizes) {
		return float64(c.BatchSizes[i])
	}
	return x
}

// speed returns the speed at z standard deviations of its logarithm: log-normal,
// with mean 1 over time and the standard deviation Share.
func (w Wander) speed(z float64) float64 {
	if w.Share <= 0 {
		return 1
	}
	variance := math.Log1p(w.Share * w.Share)
	return math.Exp(math.Sqrt(variance)*z - variance/2)
}

// decodeWork returns the units of decode work of an answer.
func (c *Config) decodeWork(output int) float64 {
	if c.USL.Lambda > 0 && output > 1 {
		return 1
	}
	return float64(output - 1)
}

// stretch returns R(x)/R(1) of the Universal Scalability Law.
func (u USL) stretch(x float64) float64 {
	if x < 1 {
		x = 1
	}
	return 1 + u.Sigma*(x-1) + u.Kappa*x*(x-1)
}

// Length draws a request's natural number of output tokens around the mean:
// log-normal, whose mean and coefficient of variation are exactly what was asked
// for.
func (c Config) Length(mean int, key uint64) int {
	if c.LengthSpread == 0 {
		return mean
	}
	variance := math.Log1p(c.LengthSpread * c.LengthSpread)
	n := float64(mean) * math.Exp(math.Sqrt(variance)*draw.Normal(c.Seed, draw.Length, key)-variance/2)
	return max(1, int(math.Round(n)))
}

// at returns the chance of an error with n requests in the server.
func (e ErrorRate) at(n int) float64 { return e.atMean(float64(n)) }

func (e ErrorRate) atMean(n float64) float64 {
	return min(1, e.Base+e.PerRequest*max(0, n-float64(e.From)))
}

// bounded reports whether the queue has a cap.
func (c Config) bounded() bool { return c.QueueCap != nil && *c.QueueCap >= 0 }
