package fleet

import (
	"math"
	"slices"

	"github.com/capfind/capfind/loadgen"
)

// mostRelieved is how often a worker's share is halved; after that it has a share only
// where the others have no room.
const mostRelieved = 3

// weigh says how a load is to be shared: evenly, or by the speeds that the workers say,
// less for one that was relieved, and no more than a worker takes.
func (h *Hub) weigh(who []*member) []loadgen.Machine {
	h.mu.Lock()
	defer h.mu.Unlock()
	machines := make([]loadgen.Machine, len(who))
	measured := h.config.Measured && !slices.ContainsFunc(who, func(m *member) bool { return m.beat.Speed <= 0 })
	for i, m := range who {
		machines[i] = loadgen.Machine{Weight: 1, Most: m.MaxStreams}
		if measured {
			machines[i].Weight = m.beat.Speed
		}
		if m.relieved > mostRelieved {
			machines[i].Weight *= 1e-9
		} else {
			machines[i].Weight /= math.Exp2(float64(m.relieved))
		}
	}
	return machines
}

// Relieve gives workers half of their shares in the loads that follow, and none once that
// has not helped. It reports whether anything is changed by that: not where no other
// worker is left.
func (h *Hub) Relieve(names []string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	some, others := false, false
	for name, m := range h.members {
		switch {
		case slices.Contains(names, name):
			some = some || m.relieved <= mostRelieved
		case m.ready && h.alive(m):
			others = true
		}
	}
	if !some || !others {
		return false
	}
	for _, name := range names {
		if m := h.members[name]; m != nil {
			m.relieved++
		}
	}
	return true
}
