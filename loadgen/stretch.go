package loadgen

import (
	"math"
	"time"
)

// roundStretches are lengths of time that people count in.
var roundStretches = []time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
	15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
}

// RoundStretch is the shortest round length of time of which no more than so many fill
// a span: seconds, minutes, hours or days, not 43 s.
func RoundStretch(span time.Duration, most int) time.Duration {
	for _, d := range roundStretches {
		if time.Duration(most)*d >= span {
			return d
		}
	}
	days := math.Ceil(span.Hours() / 24 / float64(most))
	return time.Duration(days) * 24 * time.Hour
}
