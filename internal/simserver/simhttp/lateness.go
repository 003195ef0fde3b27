package simhttp

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Lateness says how far behind its own schedule the server wrote its events:
// whether the simulator, and not the client, was too slow.
type Lateness struct {
	Events         uint64
	Mean, P50, P99 time.Duration
	Max            time.Duration
}

// latenessHistogram counts delays in buckets of 1/16 of a power of two, without
// locks: every stream adds to it at every event.
type latenessHistogram struct {
	buckets [48 * 16]atomic.Uint64
	sum     atomic.Int64
	max     atomic.Int64
}

func (h *latenessHistogram) add(d time.Duration) {
	d = max(d, 0)
	h.buckets[bucketOf(d)].Add(1)
	h.sum.Add(int64(d))
	for {
		old := h.max.Load()
		if int64(d) <= old || h.max.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

func bucketOf(d time.Duration) int {
	n := uint64(d)
	if n < 16 {
		return int(n)
	}
	shift := bits.Len64(n) - 5
	return min((shift+1)*16+int(n>>shift)-16, 48*16-1)
}

// upper returns the largest delay of a bucket.
func upper(bucket int) time.Duration {
	if bucket < 16 {
		return time.Duration(bucket)
	}
	shift := bucket/16 - 1
	return time.Duration((uint64(bucket%16)+17)<<shift - 1)
}

func (h *latenessHistogram) read() Lateness {
	var counts [48 * 16]uint64
	var l Lateness
	for i := range counts {
		counts[i] = h.buckets[i].Load()
		l.Events += counts[i]
	}
	if l.Events == 0 {
		return l
	}
	l.Max = time.Duration(h.max.Load())
	l.Mean = time.Duration(uint64(h.sum.Load()) / l.Events)
	quantile := func(q float64) time.Duration {
		rank, seen := uint64(math.Ceil(q*float64(l.Events))), uint64(0)
		for i, c := range counts {
			if seen += c; seen >= rank {
				return min(upper(i), l.Max)
			}
		}
		return l.Max
	}
	l.P50, l.P99 = quantile(0.50), quantile(0.99)
	return l
}
