package simserver

import (
	"container/heap"
	"time"
)

// phase is where a request stands in the server.
type phase uint8

const (
	phaseNew     phase = iota
	phaseQueued        // waits for a slot
	phaseRead          // in a slot: the part of prefill that no other request slows down
	phasePrefill       // in a slot: the part that does
	phaseDecode        // in a slot: output
	phaseDone
)

// Job is one request inside the server. Its times are offsets from the core's
// start, to be read under the engine's lock or when it is over.
type Job struct {
	Prompt int // tokens
	Cached int // of them found in the prefix cache

	// Wake gets a value when something about the job changed that its owner may
	// wait for: the first token, a preemption or its end, the end. Capacity one
	// and never blocking: the owner looks at the job itself.
	Wake chan struct{}

	key    uint64 // what chance is drawn from: the same key gets the same fate
	output int    // tokens

	at       *replica
	phase    phase
	seq      uint64        // order of admission to a slot, for choosing whom to preempt
	factor   float64       // by which its service takes longer than the model says
	work     float64       // units of the decode clock from first to last token
	done     float64       // of them, what was finished before a preemption
	origin   float64       // decode clock reading at which done work started to go on
	target   float64       // reading of its phase's clock at which the phase ends
	pos      int           // in its phase's heap
	started  bool          // the first token is out
	resuming bool          // prefilled before and preempted: its tokens so far are recomputed
	arrived  time.Duration // at the server
	admitted time.Duration // to its first slot
	first    time.Duration // first token
	finished time.Duration // last token, or refusal
	pace     float64       // ns per token when it finished
	tokens   int           // put out, once it is over
	last     time.Duration // the last of them
	why      refusal
}

func newJob(key uint64, prompt, output int) *Job {
	return &Job{Prompt: prompt, Wake: make(chan struct{}, 1), key: key, output: output}
}

// Times returns how long a finished request took from arrival to its last token,
// from its slot to its first token, and from there to the last.
func (j *Job) Times() (total, prefill, decode time.Duration) {
	return j.finished - j.arrived, j.first - j.admitted, j.finished - j.first
}

func (j *Job) signal() {
	select {
	case j.Wake <- struct{}{}:
	default:
	}
}

// perToken returns the units of decode work per output token.
func (j *Job) perToken() float64 {
	if j.output < 2 {
		return 0
	}
	return j.work / float64(j.output-1)
}

// uncached is the share of the prompt that has to be computed.
func (j *Job) uncached() float64 {
	if j.Prompt == 0 || j.resuming {
		return 1
	}
	return 1 - float64(j.Cached)/float64(j.Prompt)
}

// jobHeap orders the jobs of one phase by the clock reading at which it ends;
// equal readings by admission, so that ties never depend on chance.
type jobHeap []*Job

func (h jobHeap) Len() int { return len(h) }
func (h jobHeap) Less(i, k int) bool {
	if h[i].target != h[k].target {
		return h[i].target < h[k].target
	}
	return h[i].seq < h[k].seq
}
func (h jobHeap) Swap(i, k int) {
	h[i], h[k] = h[k], h[i]
	h[i].pos, h[k].pos = i, k
}

// Push implements heap.Interface.
func (h *jobHeap) Push(x any) {
	j := x.(*Job)
	j.pos = len(*h)
	*h = append(*h, j)
}

// Pop implements heap.Interface.
func (h *jobHeap) Pop() any {
	old := *h
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return j
}

func (h *jobHeap) add(j *Job, target float64) {
	j.target = target
	heap.Push(h, j)
}

func (h *jobHeap) remove(j *Job) { heap.Remove(h, j.pos) }

func (h jobHeap) top() *Job {
	if len(h) == 0 {
		return nil
	}
	return h[0]
}

// fifo is a queue of jobs that also takes one back at its front. A job that left
// early is skipped when its turn comes.
type fifo struct {
	jobs []*Job
	head int
	n    int
}

func (q *fifo) push(j *Job) {
	q.jobs = append(q.jobs, j)
	q.n++
}

func (q *fifo) pushFront(j *Job) {
	if q.head == 0 {
		q.jobs = append([]*Job{nil}, q.jobs...)
		q.head = 1
	}
	q.head--
	q.jobs[q.head] = j
	q.n++
}

// peek returns the job whose turn it is, nil when nobody waits.
func (q *fifo) peek() *Job {
	for q.head < len(q.jobs) && (q.jobs[q.head] == nil || q.jobs[q.head].phase != phaseQueued) {
		q.jobs[q.head] = nil
		q.head++
	}
	if q.head == len(q.jobs) {
		q.jobs, q.head = q.jobs[:0], 0
		return nil
	}
	if q.head > 64 && q.head > len(q.jobs)/2 {
		q.jobs = append(q.jobs[:0], q.jobs[q.head:]...)
		q.head = 0
	}
	return q.jobs[q.head]
}

// pop removes the job that peek returned.
func (q *fifo) pop() {
	q.jobs[q.head] = nil
	q.head++
	q.n--
}

// leave counts one job out that gave up; peek drops it later.
func (q *fifo) leave() { q.n-- }
