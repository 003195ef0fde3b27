package report

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/capfind/capfind/analysis"
)

func testWords(t testing.TB, lang Language) words {
	t.Helper()
	w, err := dictionary(lang)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestDumpCharts(t *testing.T) {
	dir := os.Getenv("REPORT_DUMP")
	if dir == "" {
		t.Skip("REPORT_DUMP is not set")
	}
	for name, b := range fixtures() {
		page, err := os.Create(filepath.Join(dir, name+".html"))
		if err != nil {
			t.Fatal(err)
		}
		if err := HTML(page, b.result, Options{Telemetry: b.telemetry(), Language: Language(os.Getenv("REPORT_LANG"))}); err != nil {
			t.Fatal(name, err)
		}
		page.Close()
		if os.Getenv("REPORT_PNG") == "" {
			continue
		}
		pics, err := pictures(b.result, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pics {
			raw, err := p.render()
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, name, p.path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, raw, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	c, err := Compare([]Subject{{Name: "H100", Result: slotsFixture().result, PricePerHour: number(4)}, {Name: "A100", Result: fixtures()["decode"].result, PricePerHour: number(2)}, {Name: "imported", Result: importedFixture().result}},
		CompareOptions{FailIfWorse: number(.05)})
	if err != nil {
		t.Fatal(err)
	}
	var page, md bytes.Buffer
	if err := errors.Join(c.HTML(&page), c.Markdown(&md)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "compare.html"), page.Bytes(), 0o644), os.WriteFile(filepath.Join(dir, "compare.md"), md.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// TestViolinKeepsCounts: restating a histogram in cells of equal height moves
// no count to where none was, and loses none.
func TestViolinKeepsCounts(t *testing.T) {
	a := logAxis("", 10, 1000)
	v := violin{bins: []analysis.Bin{{From: 20, To: 20.1, Count: 70}, {From: 100, To: 400, Count: 30}}}
	v.even(a, 50)
	total, at20, between := 0.0, 0.0, 0.0
	for i, n := range v.shape {
		total += n
		from, to := float64(i)/50, float64(i+1)/50
		if from <= a.place(20.05) && a.place(20.05) < to {
			at20 = n
		}
		if from > a.place(22) && to < a.place(95) {
			between += n
		}
	}
	if math.Abs(total-100) > 1e-9 || math.Abs(at20-70) > 1e-9 || between != 0 {
		t.Errorf("total %v, at 20 %v, in the gap %v", total, at20, between)
	}
	low := [2]float64{}
	for _, c := range v.outline() {
		if c[1] < low[1] {
			t.Errorf("the outline goes back down at %v", c)
		}
		low = c
	}
}

func TestAxes(t *testing.T) {
	x := stepAxis("", []float64{1, 64, 1000}, []float64{1000, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1, 64})
	if got := len(x.ticks); got != 11 || x.place(1) <= 0 || x.place(1000) >= 1 || x.place(0) > -1 {
		t.Errorf("%d ticks, 1 at %v, 1000 at %v", got, x.place(1), x.place(1000))
	}
	if mid := x.place(math.Sqrt(1000)); math.Abs(mid-.5) > 1e-12 {
		t.Errorf("the geometric middle is at %v", mid)
	}
	// At ten font sizes there is no room for eleven labels; the ends keep theirs.
	show := x.fitting(10)
	shown := 0
	for _, s := range show {
		if s {
			shown++
		}
	}
	if !show[0] || !show[len(show)-1] || shown > 6 {
		t.Errorf("shown: %v", show)
	}
	for _, v := range []float64{0, 1e-9, .3, 1, 7, 99.9, 1e6} {
		y := linearAxis("", 0, v)
		if y.max < v || len(y.ticks) < 2 || len(y.ticks) > 9 {
			t.Errorf("axis to %v: to %v with ticks %v", v, y.max, y.ticks)
		}
	}
	rows, total := stack([]row{{10, 8}, {12, 8}, {30, 8}, {11, 2}})
	if total != 3 || rows[0] != 0 || rows[1] != 1 || rows[2] != 0 || rows[3] != 2 {
		t.Errorf("rows %v of %d", rows, total)
	}
}

// render returns the picture's bytes.
func (p picture) render() ([]byte, error) {
	var b bytes.Buffer
	if err := p.write(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
