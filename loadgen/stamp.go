package loadgen

import "time"

// arrival is when bytes reached this machine, as an offset from a run's start.
type arrival struct {
	at     time.Duration
	delay  time.Duration // kernel-to-user; 0 without a kernel stamp
	source StampSource
}

// arrival turns the latest read's stamps into an offset from start; the data
// cannot have arrived before the offset floor.
//
// The kernel stamps by the wall clock, which may be set at any time, while
// offsets are monotonic. Only the difference to the wall clock right after the
// read is used, both readings a few microseconds or milliseconds apart, so that
// neither drift nor an earlier step matters. A step just in between makes the
// stamp fall after the read or before the floor, and is then not used.
func (s *stampConn) arrival(start time.Time, floor time.Duration) arrival {
	after := s.after.Sub(start)
	if s.kernel != 0 {
		delay := time.Duration(s.after.UnixNano() - s.kernel)
		if delay >= 0 && after-delay >= floor {
			return arrival{at: after - delay, delay: delay, source: StampKernel}
		}
	}
	return arrival{at: max(after, floor), source: StampUser}
}
