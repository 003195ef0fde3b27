package simserver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// A short answer that starts beside a long one ends first, and its client must
// hear of it then: one that hears of it only when the long one ends keeps its
// slot idle, and the load is less than it claims to be.
func TestShortAnswerBesideALongOneIsHeardAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.Slots, cfg.StepTime, cfg.Prefill, cfg.LengthSpread = 0, 20*time.Millisecond, 100*time.Millisecond, 0.5
		d, err := NewDoer(cfg, Workload{OutputLen: 100})
		if err != nil {
			t.Fatal(err)
		}
		long, short := 0, 0
		for key := range 100 {
			if cfg.length(100, uint64(key)) > cfg.length(100, uint64(long)) {
				long = key
			}
			if cfg.length(100, uint64(key)) < cfg.length(100, uint64(short)) {
				short = key
			}
		}
		start := time.Now()
		var ended, heard time.Duration
		done := make(chan struct{})
		go func() {
			_ = d.Do(context.Background(), start, loadgen.Sample{PromptIndex: long}, func(*loadgen.Sample) {})
			close(done)
		}()
		time.Sleep(50 * time.Millisecond)
		_ = d.Do(context.Background(), start, loadgen.Sample{PromptIndex: short}, func(s *loadgen.Sample) {
			ended, heard = s.End, time.Since(start)
		})
		if heard-ended > time.Millisecond {
			t.Errorf("the short answer ended at %v and was heard of at %v", ended, heard)
		}
		<-done
	})
}
