package prompt

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
)

// tokenizer is a toy: so many tokens for every so many bytes of a word, and a
// template around the prompt.
type tokenizer struct {
	bytesPerToken int
	template      int
	most          int // longer prompts are cut; 0: never
}

func (k tokenizer) count(text string) int {
	n := k.template
	for _, word := range strings.Fields(text) {
		n += (len(word) + k.bytesPerToken - 1) / k.bytesPerToken
	}
	if k.most > 0 {
		n = min(n, k.most)
	}
	return n
}

// TestAchievedLengths holds the mean achieved length against what was asked, for
// tokenizers that know all words, cut them up, and wrap them in a template.
func TestAchievedLengths(t *testing.T) {
	t.Logf("%-10s %8s %10s %8s %8s", "tokenizer", "asked", "achieved", "off", "probes")
	for name, k := range map[string]tokenizer{
		"one each": {bytesPerToken: 9},
		"cut at 4": {bytesPerToken: 4},
		"cut at 3": {bytesPerToken: 3},
		"template": {bytesPerToken: 4, template: 11},
		"bytes":    {bytesPerToken: 1, template: 1},
	} {
		for _, asked := range []int{16, 256, 512, 1024, 8192} {
			for _, dataset := range []string{Random, SharedPrefix} {
				c := Default()
				c.Dataset, c.InputLen, c.Seed = dataset, asked, 42
				if dataset == SharedPrefix {
					c.PrefixLen = 100
				}
				count := func(_ context.Context, text string) (int, error) { return k.count(text), nil }
				size, calibration, err := Calibrate(t.Context(), c, count)
				if err != nil || !calibration.Within {
					t.Errorf("%s: %d: %+v, %v", name, asked, calibration, err)
				}
				s := mustNew(t, c, size)
				sum, want := 0.0, 0.0
				n := max(20, min(4000, 100_000/asked))
				for i := range n {
					r := mustRequest(t, s, i)
					sum += float64(k.count(r.Text))
					want += float64(r.PromptTokens)
				}
				off := sum/want - 1
				if dataset == Random {
					t.Logf("%-10s %8d %10.1f %+7.2f%% %8d", name, asked, sum/float64(n), 100*off, calibration.Probes)
				}
				if math.Abs(off) > Tolerance {
					t.Errorf("%s, %s: asked %d, achieved %.1f", name, dataset, asked, sum/float64(n))
				}
			}
		}
	}
}

// TestCalibrateCorrects: a tokenizer whose cost of a word grows with the prompt is
// no line, and takes a correction at the length asked for.
func TestCalibrateCorrects(t *testing.T) {
	c := Default()
	c.InputLen = 2000
	count := func(_ context.Context, text string) (int, error) {
		n := float64(len(strings.Fields(text)))
		return int(n + n*n/10_000), nil
	}
	size, calibration, err := Calibrate(t.Context(), c, count)
	if err != nil || !calibration.Within || math.Abs(calibration.Mean/2000-1) > Tolerance {
		t.Errorf("%+v, %+v, %v", size, calibration, err)
	}
}

func TestCalibrateCannot(t *testing.T) {
	c := Default()
	for name, k := range map[string]tokenizer{
		"template longer than the prompt": {bytesPerToken: 9, template: 600},
		"prompts are cut":                 {bytesPerToken: 9, most: 300},
	} {
		longest := 0
		size, calibration, err := Calibrate(t.Context(), c, func(_ context.Context, text string) (int, error) {
			longest = max(longest, len(strings.Fields(text)))
			return k.count(text), nil
		})
		if err != nil || calibration.Within || calibration.Mean < 1 {
			t.Errorf("%s: %+v, %v", name, calibration, err)
		}
		if k.template > c.InputLen && calibration.Probes > 25 {
			t.Errorf("%s: %d probes", name, calibration.Probes)
		}
		if longest > 4*c.InputLen {
			t.Errorf("%s: a probe of %d words for %d tokens", name, longest, c.InputLen)
		}
		mustRequest(t, mustNew(t, c, size), 0)
	}
	broken := errors.New("gone")
	if _, _, err := Calibrate(t.Context(), c, func(context.Context, string) (int, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Errorf("broken counter: %v", err)
	}
	if _, _, err := Calibrate(t.Context(), c, func(context.Context, string) (int, error) { return 0, nil }); err == nil {
		t.Error("a count of 0: no error")
	}
}
