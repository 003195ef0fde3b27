package control_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// slowDisk takes its time for a snapshot, and tells what is written meanwhile.
type slowDisk struct {
	t         *testing.T
	busy      atomic.Bool
	snapshots int
	steps     int
}

func (d *slowDisk) Save(r *sweep.Result) error {
	if !d.busy.CompareAndSwap(false, true) {
		d.t.Error("two results are written at once")
	}
	if len(r.Steps) < d.steps {
		d.t.Error("a snapshot replaced the result that holds the step")
	}
	if r.Soak != nil && len(r.Soak.Slices) > 0 && len(r.Steps) == 0 {
		d.snapshots++
		time.Sleep(7 * time.Second)
	}
	d.busy.Store(false)
	return nil
}

func (d *slowDisk) SaveStep(r *sweep.Result, _ *analysis.Step, _ []loadgen.Run) error {
	if d.busy.Load() {
		d.t.Error("the step is written while a snapshot is")
	}
	d.steps = len(r.Steps)
	return nil
}

// What a soak stores as it goes comes from a goroutine of its own: the last of it
// is done before the step itself is stored.
func TestSnapshotsEndBeforeTheStepIsStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := against(worked(t, "slots"), 1)
		disk := &slowDisk{t: t}
		c.Journal = disk
		r, err := c.Soak(context.Background(), sweep.SoakConfig{LoadPoint: sweep.LoadPoint{Concurrency: 10, Duration: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		if disk.snapshots < 3 || disk.steps != 1 || len(r.Steps) != 1 {
			t.Errorf("%d snapshots, %d steps stored, %d in the result", disk.snapshots, disk.steps, len(r.Steps))
		}
	})
}
