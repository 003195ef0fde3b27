package sweep

import "time"

// Arrived is a stretch of recorded time.
type Arrived struct {
	AtSeconds float64 `json:"at_seconds"`   // its middle, after the first request
	Rate      float64 `json:"request_rate"` // requests/s, as recorded
}

const mostArrived = 120

// Arrived is when the requests came, in stretches of equal length.
func (t *Traffic) Arrived() []Arrived {
	span := t.Span()
	if span <= 0 {
		return nil
	}
	cells := min(mostArrived, max(1, len(t.At)/4))
	out := make([]Arrived, cells)
	width := span.Seconds() / float64(cells)
	for i := range out {
		out[i].AtSeconds = (float64(i) + 0.5) * width
	}
	for _, at := range t.At {
		out[min(cells-1, int(float64(at)/float64(span+time.Nanosecond)*float64(cells)))].Rate += 1 / width
	}
	return out
}
