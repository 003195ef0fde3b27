package analysis

import "math"

// lengthControl takes the luck of the draw out of a step's times: where answers
// differ in length, a step that happened to draw long ones looks slow. The time
// in service is p + t (L-1), with L and the time per token t known of every
// request, so each step's figures are brought to the mean length of all steps
// together: a control variate with the coefficient that physics gives.
type lengthControl struct {
	tokens float64 // mean output tokens of a success over all steps; 0: unknown
	se     float64 // relative standard error of that mean as the workload's
	floor  float64 // p: the smallest mean TTFT, seconds
}

func newLengthControl(steps []Step) lengthControl {
	var c lengthControl
	var floor Number
	tokens, completed := 0, 0
	for i := range steps {
		sum := &steps[i].Whole // everything drawn tells of the lengths, steady or not
		tokens += sum.OutputTokens
		completed += sum.Completed
		floor = floor.Min(steps[i].Verdict().TTFT.Mean)
	}
	if completed > 0 {
		c.tokens, c.floor = float64(tokens)/float64(completed), floor.Or(0)
		c.se = c.spread(steps) / math.Sqrt(float64(completed))
	}
	return c
}

// spread is the coefficient of variation of the output length, from how far the
// batches' means scatter.
func (c lengthControl) spread(steps []Step) float64 {
	sum, n := 0.0, 0
	for i := range steps {
		for _, b := range steps[i].Whole.Batches {
			if b.Completed > 0 {
				k := float64(b.Completed)
				off := float64(b.OutputTokens)/k - c.tokens
				sum += k * off * off
				n++
			}
		}
	}
	if n == 0 || c.tokens <= 0 {
		return 0
	}
	return math.Sqrt(sum/float64(n)) / c.tokens
}

// scales returns the factors that bring a decode time, and a whole service time,
// of requests with the given mean length to the common one.
func (c lengthControl) scales(tokens, completed int, decode float64) (onDecode, onService float64) {
	if completed == 0 || c.tokens <= 1 || tokens <= completed || decode <= 0 {
		return 1, 1
	}
	onDecode = (c.tokens - 1) / (float64(tokens)/float64(completed) - 1)
	return onDecode, (c.floor + decode*onDecode) / (c.floor + decode)
}

// controlled is what length control makes of a summary.
type controlled struct {
	throughput float64 // requests/s
	service    float64 // p + decode time, seconds
	decode     float64 // E2E - TTFT, seconds
	serviceSE  float64 // of service, relative
	endsSE     float64 // of throughput, relative: what the ends of the window add
	known      bool    // the errors are
}

// apply brings a summary to the common length. A full server's throughput is one
// over its service time, an idle one's time in system is the service time: either
// way the error is that of the service times, batch by batch. Where requests
// queue, those at the two ends of the window wait for others than the counted
// ones, which leaves about the share N/n of what the lengths did before.
func (c lengthControl) apply(sum *Summary, concurrency float64) controlled {
	decode := max(0, sum.E2E.Mean.Or(0)-sum.TTFT.Mean.Or(0))
	onDecode, onService := c.scales(sum.OutputTokens, sum.Completed, decode)
	out := controlled{throughput: sum.RequestThroughput.Or(0) / onService, decode: decode * onDecode}
	out.service = c.floor + out.decode
	var services []float64
	for _, b := range sum.Batches {
		e2e, ok1 := b.E2E.Value()
		ttft, ok2 := b.TTFT.Value()
		if ok1 && ok2 {
			d := max(0, e2e-ttft)
			scale, _ := c.scales(b.OutputTokens, b.Completed, d)
			services = append(services, c.floor+d*scale)
		}
	}
	plain, known := sum.RequestThroughputSE.Value()
	if !known || sum.RequestThroughput.Or(0) <= 0 {
		return out
	}
	plain /= sum.RequestThroughput.Or(0)
	out.known = true
	service, ok := standardError(services).Value()
	residence := sum.MeanResidenceSeconds.Or(0)
	if !ok || sum.Failed > 0 || out.service <= 0 || residence <= 0 {
		out.serviceSE = plain
		return out
	}
	queued := min(1, max(0, sum.TTFT.Mean.Or(0)-c.floor)/residence)
	out.serviceSE = service / out.service
	out.endsSE = plain * math.Sqrt(queued*min(1, concurrency/float64(max(sum.Completed, 1))))
	return out
}

// predict is what one step alone says of where latency meets the threshold if a
// queue is what it grows by: N* = X (T + D), the number in flight at which a
// request that leaves after the threshold and its own time D past it has met as
// many departures as there were requests before it (Little's law). For the mean
// TTFT D is the time after the first token, for E2E it is nothing. Another
// statistic lies a fixed distance from the mean, for a longer queue shifts them
// all alike.
//
// X is that of Little's law: simulated, it errs half as much as counting
// departures does, which end in mid-wave.
func (c lengthControl) predict(p *CrossingPoint, sum *Summary, d Dist, metric, statistic string, threshold float64) {
	if !sum.RequestThroughput.IsKnown() || sum.Completed == 0 {
		return
	}
	v := c.apply(sum, p.Concurrency)
	if !v.known || v.service <= 0 {
		return
	}
	within := threshold - (p.Value - d.Mean.Or(0))
	p.Throughput, p.Predicted = v.throughput, v.throughput*(within+v.decode)
	// A longer service time lowers X and raises D, so N* feels only part of it.
	felt := v.throughput * math.Abs(within-c.floor)
	if metric == "e2e" {
		p.Predicted = v.throughput * within
		felt = p.Predicted
	}
	// What a percentile's distance from the mean adds.
	more := max(0, math.Pow(d.StatisticSE(statistic).Or(0), 2)-math.Pow(d.SE.Or(0), 2))
	p.PredictedSE = math.Sqrt(math.Pow(felt*v.serviceSE, 2) + math.Pow(p.Predicted*v.endsSE, 2) + v.throughput*v.throughput*more)
	p.SharedSE = felt * c.se
}
