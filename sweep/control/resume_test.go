package control_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/store"
)

// A soak that was interrupted goes on: the slices of both parts make one run.
func TestSoakGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		load := sweep.SoakConfig{LoadPoint: sweep.LoadPoint{Concurrency: 20, Duration: 10 * time.Minute}}
		kept, err := store.Create(dir)
		if err != nil {
			t.Fatal(err)
		}
		c := against(worked(t, "slots"), 1)
		drain := make(chan struct{})
		c.Journal, c.Drain = kept, drain
		time.AfterFunc(4*time.Minute, func() { close(drain) })
		first, err := c.Soak(context.Background(), load)
		if err != nil || first.Verdict != sweep.Interrupted || len(first.Steps) != 1 || !strings.Contains(first.Steps[0].Abandoned, "interrupted") {
			t.Fatalf("%v, verdict %s, %d steps", err, first.Verdict, len(first.Steps))
		}
		kept.Close()

		kept, before, err := store.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		had := len(before.Soak.Slices)
		prompts := before.Spent.Prompts
		c = against(worked(t, "slots"), 2)
		c.Journal, c.Result = kept, before
		began := time.Now()
		r, err := c.Soak(context.Background(), load)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 5*time.Minute || took > 7*time.Minute {
			t.Errorf("the rest of ten minutes after four took %v", took)
		}
		if n := len(r.Soak.Slices); r.Verdict != sweep.Met || n < 59 || n > 61 || had < 23 {
			t.Errorf("verdict %s, %d slices, of them %d from before: %s", r.Verdict, n, had, r.Sentence)
		}
		for i := 1; i < len(r.Soak.Slices); i++ {
			if a, b := r.Soak.Slices[i-1], r.Soak.Slices[i]; b.AtSeconds < a.AtSeconds+a.Seconds-1e-6 {
				t.Errorf("slice %d begins at %v, within the one before", i, b.AtSeconds)
			}
		}
		for _, l := range samples(t, dir+"/"+store.SamplesFile) {
			if l.Request.PromptIndex < prompts {
				t.Errorf("prompt %d was sent twice", l.Request.PromptIndex)
			}
		}
	})
}

func TestInterruptedPointIsMeasuredAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		point := sweep.LoadPoint{Concurrency: 10, Requests: 500}
		c := against(worked(t, "slots"), 1)
		drain := make(chan struct{})
		c.Drain = drain
		time.AfterFunc(20*time.Second, func() { close(drain) })
		r, err := c.Point(context.Background(), point)
		if err != nil || r.Complete || r.Verdict != sweep.Interrupted || len(r.Steps) != 1 || r.Steps[0].Whole.Completed < 50 {
			t.Fatalf("%v, %+v", err, r)
		}
		c = against(worked(t, "slots"), 1)
		c.Result = r
		again, err := c.Point(context.Background(), point)
		if err != nil || !again.Complete || again.Verdict != sweep.Met || len(again.Steps) != 1 || again.Steps[0].Whole.Completed != 500 {
			t.Errorf("%v, verdict %s, %d steps", err, again.Verdict, len(again.Steps))
		}
	})
}
