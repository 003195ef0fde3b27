package simserver

import (
	"container/list"
	"slices"

	"github.com/capfind/capfind/internal/simserver/draw"
)

// prefixCache remembers the blocks of prompts, as paged KV caches do: a block is
// known by the hash of all tokens up to its end, so that only whole common
// prefixes hit. Least recently used blocks go first.
type prefixCache struct {
	blockSize, capacity int

	blocks map[uint64]*list.Element
	order  list.List // of uint64; the front was used last
}

func newPrefixCache(c PrefixCache) *prefixCache {
	if c.Tokens <= 0 {
		return nil
	}
	return &prefixCache{blockSize: c.BlockSize, capacity: max(1, c.Tokens/c.BlockSize), blocks: map[uint64]*list.Element{}}
}

// lookup returns how many tokens of the prompt are cached, and caches the rest.
// At least one token is never cached: its logits have to be computed.
func (p *prefixCache) lookup(ids []uint32) (cached int) {
	if p == nil {
		return 0
	}
	hashes := make([]uint64, 0, len(ids)/p.blockSize)
	h := uint64(0)
	for end := p.blockSize; end <= len(ids); end += p.blockSize {
		for _, id := range ids[end-p.blockSize : end] {
			h = draw.Mix(h ^ uint64(id))
		}
		hashes = append(hashes, h)
	}
	for _, h := range hashes {
		if _, known := p.blocks[h]; !known {
			break
		}
		cached += p.blockSize
	}
	// Last block first: a prefix without its end is of use, an end without its
	// prefix is not, so the end has to go first.
	for _, h := range slices.Backward(hashes) {
		if e, known := p.blocks[h]; known {
			p.order.MoveToFront(e)
		} else {
			p.blocks[h] = p.order.PushFront(h)
		}
	}
	for len(p.blocks) > p.capacity {
		delete(p.blocks, p.order.Remove(p.order.Back()).(uint64))
	}
	if cached == len(ids) && cached > 0 {
		cached -= p.blockSize
	}
	return cached
}
