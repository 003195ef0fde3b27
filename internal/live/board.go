package live

import "sync"

// board holds the newest of what all viewers are shown. A viewer takes what is newest
// whenever it has sent the last: a slow one misses what lay between.
type board struct {
	mu           sync.Mutex
	state, steps []byte
	stepsVersion int
	over         string // the event that says how it ended: report or ended; empty: it goes on
	changed      chan struct{}
}

func newBoard() *board { return &board{changed: make(chan struct{})} }

// post replaces what is given and wakes all who wait.
func (b *board) post(state, steps []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if state != nil {
		b.state = state
	}
	if steps != nil {
		b.steps = steps
		b.stepsVersion++
	}
	b.wake()
}

// end says that it is over: the report has taken the page's place, or there is none.
func (b *board) end(how string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = how
	b.wake()
}

func (b *board) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// read returns what is newest; steps is nil for one who has seen that version.
func (b *board) read(seen int) (state, steps []byte, version int, over string, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if seen != b.stepsVersion {
		steps = b.steps
	}
	return b.state, steps, b.stepsVersion, b.over, b.changed
}
