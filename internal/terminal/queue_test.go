package terminal

import (
	"testing"

	"github.com/capfind/capfind/sweep"
)

func TestQueueWords(t *testing.T) {
	want := "simulated for all that was recorded, at most in the server: 9 at 1 x, 120 at 1.5 x (more than was measured)"
	if got := queueWords([]sweep.Simulated{{Speed: 1, Peak: 9}, {Speed: 1.5, Peak: 120, Beyond: true}}); got != want {
		t.Errorf("%q", got)
	}
	if got := queueWords(nil); got != "" {
		t.Errorf("%q of nothing", got)
	}
}
