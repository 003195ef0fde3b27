package analysis

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The radix sort must order like the library's, whatever digits the values use.
func TestSortMicros(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, most := range []uint64{1, 2, 1 << 11, 1<<11 + 1, 1 << 22, 1 << 30, 1 << 32} {
		for _, n := range []int{1, 2, 1000} {
			values := make([]uint32, n)
			for i := range values {
				values[i] = uint32(rng.Uint64N(most))
			}
			want := slices.Sorted(slices.Values(values))
			if got := sortMicros(values); !slices.Equal(got, want) {
				t.Errorf("%d values below %d are out of order: %v", n, most, got[:min(n, 10)])
			}
		}
	}
}
