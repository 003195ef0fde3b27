package simserver

import "testing"

func TestPrefixCacheBlocks(t *testing.T) {
	ids := func(n int, first uint32) (out []uint32) {
		for i := range uint32(n) {
			out = append(out, first+i)
		}
		return out
	}
	p := newPrefixCache(PrefixCache{Tokens: 64, BlockSize: 16})
	for _, step := range []struct {
		name string
		ids  []uint32
		want int
	}{
		{"nothing known", ids(40, 1), 0},
		{"whole blocks only", ids(40, 1), 32},
		{"the last token is always computed", ids(32, 1), 16},
		{"another start and a known end", append(ids(16, 900), ids(16, 17)...), 0},
		{"as it was", ids(40, 1), 32},
		{"three new blocks", ids(48, 2000), 0},
		{"the end was pushed out, the start was not", ids(40, 1), 16},
	} {
		if got := p.lookup(step.ids); got != step.want {
			t.Errorf("%s: %d cached, want %d", step.name, got, step.want)
		}
	}
}
