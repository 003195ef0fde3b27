package terminal

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep/control"
)

// How often the live line is painted on a terminal, and how often a line is
// written elsewhere while a long step runs.
const (
	paintEvery = 200 * time.Millisecond
	plainEvery = 10 * time.Second
)

// Console shows on stderr how a measurement goes: one line a finished step and,
// while one runs, a live line on a terminal or a plain one now and then
// elsewhere. It is the controllers' Observer.
type Console struct {
	w     io.Writer
	style style
	live  bool // repaint one line
	quiet bool // only notices that a person must see
	now   func() time.Time
	names naming

	mu      sync.Mutex
	header  bool // the table's header has been written
	steps   []analysis.Step
	plan    control.StepPlan
	started time.Time
	painted bool     // the live line is on the screen
	said    []string // sentences that need not be said again
	stop    chan struct{}
	ticking sync.WaitGroup
}

// New returns a console for the steps of a command, one that shows nothing where it
// is to be quiet.
func New(w io.Writer, quiet bool, command string) *Console {
	return &Console{w: w, names: namingOf(command), style: styleFor(w), live: Is(w), quiet: quiet, now: time.Now}
}

// StepStarted implements control.Observer.
func (c *Console) StepStarted(p control.StepPlan) {
	c.halt()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plan, c.started = p, c.now()
	if c.quiet {
		return
	}
	c.writeHeader()
	stop := make(chan struct{})
	c.stop = stop
	c.ticking.Go(func() { c.tick(stop) })
}

// StepDone implements control.Observer.
func (c *Console) StepDone(s analysis.Step) {
	c.halt()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = append(c.steps, s)
	if c.quiet {
		return
	}
	c.writeHeader()
	line := c.row(c.names.stepRow(c.steps, len(c.steps)-1))
	switch {
	case s.ClientLimited():
		line = c.style.yellow(line)
	case !s.Passed():
		line = c.style.red(line)
	}
	fmt.Fprintln(c.w, line)
	if s.Abandoned != "" {
		fmt.Fprintln(c.w, c.style.dim("  "+s.Abandoned))
	}
	for _, stop := range s.Breaches {
		fmt.Fprintln(c.w, c.style.red("  "+stop.Sentence))
	}
	for _, limit := range s.Client.Limits {
		fmt.Fprintln(c.w, c.style.yellow("  "+limit))
		c.said = append(c.said, limit)
	}
}

// Notice implements control.Observer.
func (c *Console) Notice(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wipe()
	if c.quiet || slices.ContainsFunc(c.said, func(said string) bool { return strings.Contains(text, said) }) {
		return
	}
	fmt.Fprintln(c.w, c.style.dim("  "+text))
}

// Close ends what is still being painted.
func (c *Console) Close() { c.halt() }

// On reports whether what it shows is on the same screen as a stream.
func (c *Console) On(stream io.Writer) bool { return !c.quiet && c.live && Is(stream) }

// patience is how long nobody wonders what is going on.
const patience = 2 * time.Second

// Reading returns who is to hear how many bytes of a file have been read, and
// shows it once that takes longer than people wait without a word.
func (c *Console) Reading(name string) func(read, total int64) {
	started := c.now()
	next := started.Add(patience)
	return func(read, total int64) {
		c.mu.Lock()
		defer c.mu.Unlock()
		at := c.now()
		if c.quiet || at.Before(next) {
			return
		}
		line := fmt.Sprintf("  reading %s: %s of %s", name, bytesOf(read), bytesOf(total))
		if left := float64(total-read) / float64(read); read > 0 && left > 0 {
			line += ", about " + Short(time.Duration(left*float64(at.Sub(started)))) + " left"
		}
		next = at.Add(c.every())
		c.show(line)
	}
}

// During does something and shows what it is once that takes longer than people
// wait without a word.
func (c *Console) During(what string, do func() error) error {
	done := false // under the lock: nothing is shown of what is over
	timer := time.AfterFunc(patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !done && !c.quiet {
			c.show("  " + what)
		}
	})
	err := do()
	timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	done = true
	c.wipe()
	return err
}

// Clear wipes what is shown of something that has ended.
func (c *Console) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wipe()
}

// every is how often something that goes on is shown anew.
func (c *Console) every() time.Duration {
	if c.live {
		return paintEvery
	}
	return plainEvery
}

// show paints the live line on a terminal and writes a line elsewhere.
func (c *Console) show(line string) {
	if !c.live {
		fmt.Fprintln(c.w, line)
		return
	}
	fmt.Fprint(c.w, "\r\x1b[K"+c.style.dim(fit(line, width(c.w))))
	c.painted = true
}

func (c *Console) writeHeader() {
	if !c.header {
		c.header = true
		fmt.Fprintln(c.w, c.style.bold(c.row(c.names.header())))
	}
}

// row lines up the cells of a step, the fewest on a narrow terminal.
func (c *Console) row(cells []string) string {
	widths := stepWidths
	if c.live && width(c.w) < wideTable {
		cells, widths = pick(cells, narrowColumns), pick(widths, narrowColumns)
	}
	return strings.TrimRight(aligned(cells, widths), " ")
}

// halt ends the ticking and wipes the live line. It must not hold the lock
// while it waits, for the ticker takes it.
func (c *Console) halt() {
	c.mu.Lock()
	stop := c.stop
	c.stop = nil
	c.mu.Unlock()
	if stop != nil {
		close(stop)
		c.ticking.Wait()
	}
	c.mu.Lock()
	c.wipe()
	c.mu.Unlock()
}

func (c *Console) wipe() {
	if c.painted {
		fmt.Fprint(c.w, "\r\x1b[K")
		c.painted = false
	}
}

// tick shows how the step goes until it is stopped.
func (c *Console) tick(stop <-chan struct{}) {
	ticker := time.NewTicker(c.every())
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			c.paint()
		}
	}
}

func (c *Console) paint() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.show(c.names.progressLine(c.plan, c.now().Sub(c.started)))
}

// progressLine says how far a step has come, from its live counts.
func (n naming) progressLine(p control.StepPlan, elapsed time.Duration) string {
	var sent, inFlight, ok, failed, tokens int64
	if c := p.Progress; c != nil {
		sent, inFlight, ok, failed, tokens = counts(c)
	}
	done := ok + failed
	line := fmt.Sprintf("%-12s", n.step(p.Concurrency, p.RequestRate, p.Speed, p.Phase))
	if p.NumPrompts > 0 {
		line += fmt.Sprintf("  %d/%d done", done, p.NumPrompts)
	} else {
		line += fmt.Sprintf("  %d done", done)
	}
	if failed > 0 {
		line += fmt.Sprintf(", %d failed", failed)
	}
	line += fmt.Sprintf(", %d in flight", inFlight)
	if p.NumPrompts > 0 && done >= int64(p.NumPrompts) && inFlight == 0 {
		return line + ", working it out"
	}
	if s := elapsed.Seconds(); s > 0 && done > 0 {
		rate := float64(done) / s
		line += fmt.Sprintf(", %.2f req/s, %.0f tok/s", rate, float64(tokens)/s)
		if left := int64(p.NumPrompts) - done; p.NumPrompts > 0 && left > 0 {
			line += ", about " + Short(time.Duration(float64(left)/rate*float64(time.Second))) + " left"
		}
	} else if sent > 0 {
		line += ", waiting for the first answer"
	}
	if p.Duration > 0 {
		return line + ", " + Short(elapsed) + " of " + Short(p.Duration)
	}
	return line + ", " + Short(elapsed) + " so far"
}

func counts(p *loadgen.Progress) (sent, inFlight, ok, failed, tokens int64) {
	return p.Sent.Load(), p.InFlight.Load(), p.Succeeded.Load(), p.Failed.Load(), p.OutputTokens.Load()
}
