package fleet

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/nats-io/nats.go"
)

// offset is by how much another clock is ahead of this one.
type offset struct {
	by    time.Duration
	error time.Duration // at most so much off: half of the round trip
	at    time.Time     // when it was measured; zero: never
}

// Round trips of a measurement.
const (
	roundTrips = 12
	driftMost  = 50e-6 // by which two clocks may run apart, s/s
)

// better is the more exact of two measurements, the older one's error having grown
// since.
func (o offset) better(p offset) offset {
	if o.at.IsZero() {
		return p
	}
	aged := o.error + time.Duration(driftMost*float64(p.at.Sub(o.at)))
	far := max(o.by-p.by, p.by-o.by) > aged+p.error // the clock was set meanwhile
	if far || p.error < aged {
		return p
	}
	o.error, o.at = aged, p.at
	return o
}

// ask measures a clock by round trips: of a question that took d in all the answer was
// given somewhere in it, so that the offset is known to d/2, and the quickest knows it
// best (Cristian, "Probabilistic clock synchronization", 1989).
func ask(ctx context.Context, nc *nats.Conn, subject string) (offset, error) {
	var best offset
	var last error
	for range roundTrips {
		one, cancel := context.WithTimeout(ctx, time.Second)
		from := time.Now()
		reply, err := nc.RequestWithContext(one, subject, nil)
		took := time.Since(from)
		cancel()
		if err != nil || len(reply.Data) != 8 {
			last = err
			continue
		}
		there := time.Unix(0, int64(binary.BigEndian.Uint64(reply.Data)))
		o := offset{by: there.Sub(from.Round(0)) - took/2, error: took / 2, at: time.Now()}
		if best.at.IsZero() || o.error < best.error {
			best = o
		}
	}
	if best.at.IsZero() {
		return best, last
	}
	return best, nil
}

// tell answers what time it is.
func tell(m *nats.Msg, now time.Time) {
	_ = m.Respond(binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano()))) // else asked again
}
