package prompt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Dropper is a Source that can leave out a prompt which is longer than the model's
// context.
type Dropper interface {
	// Drop leaves out the entry that r was made of, so that another one stands in
	// its place from now on; why is what the server said. It does nothing and
	// returns false where prompts are not to be dropped. It is safe for concurrent
	// use.
	Drop(r Request, why string) bool
}

// ErrNoneFits says that every entry of a data set was dropped.
var ErrNoneFits = errors.New("not one prompt of the data set fits the model's context")

// drops are the entries of a data set that were left out.
type drops struct {
	mu      sync.RWMutex
	dropped map[int]bool
	why     string // the last one was
}

func (d *drops) drop(k int, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dropped == nil {
		d.dropped = map[int]bool{}
	}
	d.dropped[k], d.why = true, why
}

// fitting returns k, or where that entry of n was dropped the next one that was not.
func (d *drops) fitting(k, n int) (int, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if len(d.dropped) == n {
		return 0, fmt.Errorf("%w: %s", ErrNoneFits, d.why)
	}
	for d.dropped[k] {
		k = (k + 1) % n
	}
	return k, nil
}

// Drop implements Dropper.
func (d *dataset) Drop(r Request, why string) bool {
	if d.c.DropTooLong {
		d.drop(r.Entry, why)
	}
	return d.c.DropTooLong
}

// Dropped returns how many entries were left out, of how many there are, and why
// the last of them was.
func (d *dataset) Dropped() (n, of int, why string) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.dropped), len(d.offsets), d.why
}

// countedMost bounds how many entries are counted in advance: some tens of seconds
// of a server's time. What is left over its refusals tell.
const countedMost = 5000

// DropLonger leaves out, before any was sent, the entries that are longer with
// their answers than so many tokens, as far as count tells; why says so. A token is
// a byte at least, so that of most entries nothing has to be counted.
func (d *dataset) DropLonger(ctx context.Context, tokens int, count Counter, why string) error {
	if !d.c.DropTooLong {
		return nil
	}
	counted := 0
	for k := range d.offsets {
		if counted == countedMost {
			break
		}
		r, err := d.record(k)
		if err != nil {
			return err
		}
		text, out := r.spoken(), d.outputTokens(r.outputTokens)
		if len(text)+out <= tokens {
			continue
		}
		counted++
		n, err := count(ctx, text)
		if err != nil {
			return fmt.Errorf("counting the tokens of entry %d of the data set: %w", k+1, err)
		}
		if n+out > tokens {
			d.drop(k, why)
		}
	}
	return nil
}

// spoken is the text of a record, without what a chat template adds.
func (r *record) spoken() string {
	if r.messages == nil {
		return r.text
	}
	var messages []struct{ Content json.RawMessage }
	var parts []string
	if json.Unmarshal(r.messages, &messages) == nil {
		for _, m := range messages {
			var text string
			if json.Unmarshal(m.Content, &text) == nil {
				parts = append(parts, text)
			}
		}
	}
	return strings.Join(parts, "\n")
}
