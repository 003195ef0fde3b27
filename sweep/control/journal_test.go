package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
	"github.com/capfind/capfind/sweep/store"
)

// pulled is a generator whose plug is pulled at a run: as after a kill, nothing
// of that run is left.
type pulled struct {
	control.Generator
	after int
}

var errPulled = errors.New("pulled")

func (p *pulled) Run(ctx context.Context, l loadgen.Load) (loadgen.Run, error) {
	if p.after == 0 {
		return loadgen.Run{}, errPulled
	}
	p.after--
	return p.Generator.Run(ctx, l)
}

// essence is what must not depend on whether a sweep was interrupted.
type essence struct {
	verdict  sweep.Verdict
	sentence string
	limits   map[string]analysis.Limit
	steps    []int
	phases   []analysis.Phase
	samples  []int // lines of samples by step
}

func essenceOf(t *testing.T, r *sweep.Result, dir string) essence {
	t.Helper()
	e := essence{verdict: r.Verdict, sentence: r.Sentence, limits: r.Limits}
	for _, s := range r.Steps {
		e.steps = append(e.steps, s.Concurrency)
		e.phases = append(e.phases, s.Phase)
		e.samples = append(e.samples, 0)
	}
	prompts := map[int]bool{}
	for _, l := range samples(t, filepath.Join(dir, store.SamplesFile)) {
		e.samples[l.Step]++
		if prompts[l.Request.PromptIndex] {
			t.Errorf("prompt %d was sent twice", l.Request.PromptIndex)
		}
		prompts[l.Request.PromptIndex] = true
	}
	return e
}

// openOrCreate is the store in dir and the result so far, nil in a new one.
func openOrCreate(dir string) (*store.Store, *sweep.Result, error) {
	if _, err := os.Stat(filepath.Join(dir, store.ResultFile)); err == nil {
		return store.Open(dir)
	}
	kept, err := store.Create(dir)
	return kept, nil, err
}

// stored runs a sweep into dir, going on with what is there; after runs the
// plug is pulled, with -1 never.
func stored(t *testing.T, m model, dir string, after int) (*sweep.Result, []loadgen.Load) {
	t.Helper()
	kept, before, err := openOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	e := newEngine(m, 1)
	c := controllerFor(e)
	c.Generator = &pulled{e, after}
	c.Journal, c.Result = kept, before
	r, err := c.Sweep(context.Background())
	if after >= 0 && !errors.Is(err, errPulled) {
		t.Fatalf("the sweep ended before its plug was pulled: %v", err)
	}
	if after < 0 && err != nil {
		t.Fatal(err)
	}
	return r, e.runs
}

func TestResumedSweepSaysTheSame(t *testing.T) {
	for _, c := range []model{workedCases[3].model, workedCases[4].model} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				whole := t.TempDir()
				r, _ := stored(t, c, whole, -1)
				want := essenceOf(t, r, whole)
				for k := 0; k < len(want.steps)+1; k += 1 + len(want.steps)/3 {
					dir := t.TempDir()
					stored(t, c, dir, k)
					onDisk, err := store.Load(dir)
					if err != nil {
						t.Fatal(err)
					}
					if onDisk.Complete || onDisk.Verdict != sweep.Interrupted {
						t.Errorf("after %d runs the result on disk claims to be complete: %v, %s", k, onDisk.Complete, onDisk.Verdict)
					}
					r, runs := stored(t, c, dir, -1)
					got := essenceOf(t, r, dir)
					if n := len(onDisk.Steps); n < len(want.steps) && runs[0].Concurrency != want.steps[n] {
						t.Errorf("after %d finished steps the resumed run began with %d in flight, want %d", n, runs[0].Concurrency, want.steps[n])
					}
					if !reflect.DeepEqual(got, want) {
						t.Errorf("resumed after %d runs:\n got %+v\nwant %+v", k, got, want)
					}
				}
			})
		})
	}
}

// A wall clock that was set back while a sweep was not running is seen in the
// moments that the result names, but in no time that it took and no answer.
func TestClockSetBackBeforeResuming(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, wholeDir, dir := workedCases[3].model, t.TempDir(), t.TempDir()
		whole, _ := stored(t, m, wholeDir, -1)
		stored(t, m, dir, len(whole.Steps)-1)
		kept, before, err := store.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		before.StartedAt = before.StartedAt.Add(time.Hour)
		for i := range before.Steps {
			before.Steps[i].StartedAt = before.Steps[i].StartedAt.Add(time.Hour)
		}
		if err := errors.Join(kept.Save(before), kept.Close()); err != nil {
			t.Fatal(err)
		}
		r, _ := stored(t, m, dir, -1)
		if got, want := essenceOf(t, r, dir), essenceOf(t, whole, wholeDir); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
		if got, want := r.Search.Seconds, whole.Search.Seconds; math.Abs(got/want-1) > 0.01 {
			t.Errorf("the search took %g s, want %g s", got, want)
		}
		if got, want := r.Spent.Seconds, whole.Spent.Seconds; got < want-1 || got > 1.5*want {
			t.Errorf("spent %g s, without interruption %g s", got, want)
		}
	})
}

func TestTornSamplesAreCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		stored(t, workedCases[0].model, dir, 3)
		path := filepath.Join(dir, store.SamplesFile)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// A whole member of a step that the result does not know, and a torn one.
		for _, tail := range [][]byte{good, good[:len(good)/2], {0x1f, 0x8b}, []byte("rubbish")} {
			if err := os.WriteFile(path, append(bytes.Clone(good), tail...), 0o644); err != nil {
				t.Fatal(err)
			}
			kept, _, err := store.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			kept.Close()
			if now, _ := os.ReadFile(path); !bytes.Equal(now, good) {
				t.Errorf("a tail of %d bytes left %d bytes of samples, want %d", len(tail), len(now), len(good))
			}
		}
		if err := os.WriteFile(path, good[:len(good)-9], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := store.Open(dir); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("samples of a kept step are gone, but opening says %v", err)
		}
	})
}

func TestStoreWritesPlainFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no file modes")
	}
	bubble(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "a", "b")
		stored(t, workedCases[4].model, dir, -1)
		err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			if err == nil && info.Mode().Perm()&0o022 != 0 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			if strings.HasSuffix(path, ".tmp") {
				t.Errorf("%s was left behind", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// fullDisk takes the samples of so many steps, but the result at any time.
type fullDisk struct {
	*store.Store
	room int
}

func (f *fullDisk) SaveStep(r *sweep.Result, step *analysis.Step, runs []loadgen.Run) error {
	if f.room--; f.room < 0 {
		f.Store.Close() // so that its writes fail
	}
	return f.Store.SaveStep(r, step, runs)
}

// Where a step's samples cannot be stored, the result must not speak of that step:
// it could not be gone on with.
func TestStepThatCannotBeStoredEndsTheSweep(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		kept, err := store.Create(dir)
		if err != nil {
			t.Fatal(err)
		}
		e := newEngine(workedCases[3].model, 1)
		c := controllerFor(e)
		c.Journal = &fullDisk{kept, 2}
		_, err = c.Sweep(context.Background())
		var lost *control.StoreError
		if !errors.As(err, &lost) || !strings.Contains(lost.What, "step") {
			t.Errorf("the sweep ends with %v", err)
		}
		if len(e.runs) != 3 {
			t.Errorf("%d runs though the third could not be stored", len(e.runs))
		}
		again, r, err := store.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if len(r.Steps) != 2 || r.Complete {
			t.Errorf("%d steps on disk, complete: %v", len(r.Steps), r.Complete)
		}
	})
}

func TestResultSurvivesJSON(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		r, _ := stored(t, workedCases[1].model, dir, -1)
		want, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		again, err := store.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.MarshalIndent(again, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Error("the result read back differs from the one written")
		}
	})
}
