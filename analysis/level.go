package analysis

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/capfind/capfind/loadgen"
)

// Level is what a step says about its concurrency as a steady state: what limits
// between the steps are estimated from. It keeps batches, from which means and
// their errors follow.
//
// Requests that still decode when the last one has been sent see the load drain
// away, and a server that is quicker with fewer requests flatters them: with ten
// waves of requests the time in system comes out about 2 % too short, by more
// where some answers are many times longer than others, and that moves a fitted
// knee by as much. To leave out all that end late would leave out the long ones.
// Where the length of an answer explains its decode time, these requests get the
// decode time that a straight line through the others has for their length. Where
// it does not, those sent within a mean time in system of the window's end are
// left out.
type Level struct {
	Requests int          `json:"requests"`          // successes that it rests on
	PerToken float64      `json:"per_token_seconds"` // by how much a longer answer takes longer: slope of decode time over output tokens
	Batches  []LevelBatch `json:"batches"`           // in order of dispatch
}

// LevelBatch is a stretch of consecutive successes; means.
type LevelBatch struct {
	Requests     int     `json:"requests"`
	Residence    float64 `json:"residence_seconds"` // sent -> end
	TTFT         float64 `json:"ttft_seconds"`      // 0 where not streamed
	Decode       float64 `json:"decode_seconds"`    // first output -> end; all of the residence where not streamed
	OutputTokens float64 `json:"output_tokens"`
}

// settled is a success as it would have gone had the load gone on; seconds.
type settled struct {
	residence, ttft, decode, tokens float64
}

// levelOf takes the steady parts of a step's runs. It is nil where too little succeeded.
func levelOf(parts []part) *Level {
	line, ok := decodeLineOf(parts)
	if !ok {
		return nil
	}
	l := &Level{PerToken: line.perToken()}
	for i := range parts {
		l.add(settle(&parts[i], line), parts[0].run.Load.Concurrency)
	}
	if l.Requests == 0 {
		return nil
	}
	return l
}

// settle returns a part's successes in order of dispatch, untouched by the drain.
func settle(p *part, line decodeLine) []settled {
	var all []settled
	var sent, ended []float64
	for _, s := range p.cohort {
		r, ok := s.Residence()
		if !ok || s.Class != loadgen.Success {
			continue
		}
		ttft, _ := s.TTFT()
		all = append(all, settled{r.Seconds(), ttft.Seconds(), (r - ttft).Seconds(), float64(s.OutputTokens)})
		sent, ended = append(sent, s.Sent.Seconds()), append(ended, s.End.Seconds())
	}
	if !line.explains() {
		if p.cut {
			return all // none of them saw it
		}
		return all[:beforeDrain(all, sent, p.to.Seconds())]
	}
	for i := range all {
		if s := &all[i]; ended[i] > p.to.Seconds() {
			s.decode = line.at(s.tokens)
			s.residence = s.ttft + s.decode
		}
	}
	return all
}

// beforeDrain is how many of the requests were sent early enough not to see the
// drain. Long ones see more of it: where too many would be lost by leaving a time
// in system and a standard deviation, a time in system has to do; where none would
// be left, all of them do.
func beforeDrain(all []settled, sent []float64, to float64) int {
	times := make([]float64, len(all))
	for i, s := range all {
		times[i] = s.residence
	}
	mean, std := stat.PopMeanStdDev(times, nil)
	until := func(last float64) int {
		n, _ := slices.BinarySearch(sent, math.Nextafter(last, math.Inf(1)))
		return n
	}
	n := until(to - mean - std)
	if 4*n < len(all) {
		n = until(to - mean)
	}
	if n == 0 {
		return len(all)
	}
	return n
}

// decodeLine is the straight line of decode time over output tokens through the
// successes that ended while the load was full.
type decodeLine struct {
	tokens, decode float64 // means, the latter in seconds
	slope          float64 // seconds per token
	explained      float64 // r^2; 0 where lengths hardly differ
}

// wellExplained is the share of the variance of decode times that the lengths of
// the answers must explain if they are to stand for it.
const wellExplained = 0.9

func (l decodeLine) explains() bool { return l.explained >= wellExplained }

func (l decodeLine) at(tokens float64) float64 { return max(0, l.decode+l.slope*(tokens-l.tokens)) }

// perToken is the slope, and never more than the mean time per token, beyond which
// it could only be chance.
func (l decodeLine) perToken() float64 {
	if l.explained == 0 {
		return 0
	}
	return min(max(l.slope, 0), l.decode/(l.tokens-1))
}

// fewestOnLine is how many successes must have ended while the load was full for a line
// through them, and for a level: without them nothing is known of the lengths' part in it.
const fewestOnLine = 3

func decodeLineOf(parts []part) (l decodeLine, ok bool) {
	var tokens, decode []float64
	for i := range parts {
		p := &parts[i]
		for _, s := range p.cohort {
			r, ok := s.Residence()
			if !ok || s.Class != loadgen.Success || s.End > p.to && !p.cut {
				continue
			}
			ttft, _ := s.TTFT()
			tokens = append(tokens, float64(s.OutputTokens))
			decode = append(decode, (r - ttft).Seconds())
		}
	}
	return lineThrough(tokens, decode)
}

// lineThrough is the line through some answers' lengths and decode times; level where
// lengths hardly differ.
func lineThrough(tokens, decode []float64) (l decodeLine, ok bool) {
	if len(tokens) == 0 {
		return l, false
	}
	mean, spread := stat.PopMeanStdDev(tokens, nil)
	l = decodeLine{tokens: mean, decode: stat.Mean(decode, nil)}
	if len(tokens) < fewestOnLine {
		return l, false
	}
	if mean <= 1 || spread < 0.01*mean {
		return l, true
	}
	_, l.slope = stat.LinearRegression(tokens, decode, nil, false)
	r := stat.Correlation(tokens, decode, nil)
	l.explained = r * r
	return l, true
}

// LevelBatches is into how many batches the requests of a run with n in flight fall:
// about a wave each.
func LevelBatches(requests, n int) int {
	return min(max(minBatches, requests/max(n, 1)), maxBatches, max(1, requests/2))
}

// add appends a run's requests as batches of about a wave each.
func (l *Level) add(cohort []settled, n int) {
	total := len(cohort)
	count := LevelBatches(total, n)
	for k := range count {
		var b LevelBatch
		for _, s := range cohort[k*total/count : (k+1)*total/count] {
			b.Requests++
			b.Residence += s.residence
			b.TTFT += s.ttft
			b.Decode += s.decode
			b.OutputTokens += s.tokens
		}
		if b.Requests == 0 {
			continue
		}
		m := float64(b.Requests)
		b.Residence, b.TTFT, b.Decode, b.OutputTokens = b.Residence/m, b.TTFT/m, b.Decode/m, b.OutputTokens/m
		l.Requests += b.Requests
		l.Batches = append(l.Batches, b)
	}
}

// Mean returns the means over all requests.
func (l *Level) Mean() LevelBatch {
	var m LevelBatch
	for _, b := range l.Batches {
		w := float64(b.Requests)
		m.Requests += b.Requests
		m.Residence += w * b.Residence
		m.TTFT += w * b.TTFT
		m.Decode += w * b.Decode
		m.OutputTokens += w * b.OutputTokens
	}
	n := float64(max(m.Requests, 1))
	m.Residence, m.TTFT, m.Decode, m.OutputTokens = m.Residence/n, m.TTFT/n, m.Decode/n, m.OutputTokens/n
	return m
}

// ForLength returns the level as it would be had the answers a mean of tokens
// output tokens: the lengths that a step happens to draw are most of the noise
// in its time in system, and are known exactly (a control variate). queued is
// the mean wait for a slot: it is made of other requests' service, so that it
// stretches with the length as they do. At one token or less nothing is changed.
//
//	D* = D + t (L - l),  R* = R + t (L - l) R / (R - queued),  t = D / (l - 1)
func (l *Level) ForLength(tokens, queued float64) *Level {
	out := &Level{Requests: l.Requests, PerToken: l.PerToken, Batches: make([]LevelBatch, len(l.Batches))}
	for i, b := range l.Batches {
		if b.OutputTokens > 1 && tokens > 1 {
			change := l.PerToken * (tokens - b.OutputTokens)
			stretch := 1.0
			if wait := min(queued, 0.9*b.Residence); wait > 0 {
				stretch = b.Residence / (b.Residence - wait)
			}
			b.Residence += change * stretch
			b.Decode += change
			b.TTFT = max(0, b.TTFT+change*(stretch-1))
			b.OutputTokens = tokens
		}
		out.Batches[i] = b
	}
	return out
}

// SE returns the standard error of the mean of a figure over the batches, and
// the degrees of freedom that it rests on; unknown with fewer than two batches.
func (l *Level) SE(figure func(LevelBatch) float64) (Number, float64) {
	n := len(l.Batches)
	if n < 2 {
		return Number{}, 0
	}
	values, weights := make([]float64, n), make([]float64, n)
	for i, b := range l.Batches {
		values[i], weights[i] = figure(b), float64(b.Requests)
	}
	mean := stat.Mean(values, weights)
	sum, total := 0.0, 0.0
	for i, v := range values {
		sum += weights[i] * weights[i] * (v - mean) * (v - mean)
		total += weights[i]
	}
	dof := float64(n - 1)
	return loadgen.Known(math.Sqrt(sum*float64(n)/dof) / total), dof
}
