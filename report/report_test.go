package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// TestWriteAllStates renders every state that a result can be in, in both
// languages, and checks what must be there whatever the state.
func TestWriteAllStates(t *testing.T) {
	for name, b := range fixtures() {
		t.Run(name, func(t *testing.T) {
			for _, lang := range []Language{English, Chinese} {
				o := Options{Language: lang, Telemetry: b.telemetry(), PricePerHour: number(2.5)}
				var page, md bytes.Buffer
				if err := errors.Join(HTML(&page, b.result, o), Markdown(&md, b.result, o), CSV(discard{}, b.result)); err != nil {
					t.Fatal(err)
				}
				if page.Len() > 1<<20 {
					t.Errorf("the page has %d bytes", page.Len())
				}
				for _, bad := range []string{"NaN", "Inf", "%!", "ZgotmplZ", "&lt;nil&gt;"} {
					if strings.Contains(page.String(), bad) || strings.Contains(md.String(), bad) {
						t.Errorf("%s: page or Markdown contains %q", lang, bad)
					}
				}
			}
		})
	}
}

// TestWriteAll looks for everything that a result directory must hold.
func TestWriteAll(t *testing.T) {
	b := fixtures()["queue"]
	dir := t.TempDir()
	if err := WriteAll(dir, b.result, Options{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"report.html", "report.md", "steps.csv", "concurrency_analysis.png", "charts/throughput.png", "charts/ttft.png",
		"charts/tpot.png", "charts/success.png", "charts/failures.png", "charts/tokens.png", "charts/tradeoff.png"}
	for _, s := range b.result.Steps {
		base := "steps/concurrency_" + strconv.Itoa(s.Concurrency)
		want = append(want, base+".json", base+".log")
	}
	for _, f := range want {
		if info, err := os.Stat(filepath.Join(dir, f)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", f, err)
		}
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if strings.HasPrefix(d.Name(), ".") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteAll(filepath.Join(dir, "report.md"), b.result, Options{}); err == nil || !strings.Contains(err.Error(), "report.html") {
		t.Errorf("writing into a file: %v", err)
	}
}

// TestStepFilesDoNotCollide: the search may repeat a concurrency of the ladder.
func TestStepFilesDoNotCollide(t *testing.T) {
	b := newBuild("again", slots64).ladder(1, 2, 5).probes(analysis.PhaseProbe, 5, 3, 3)
	var got []string
	for _, f := range stepFiles(b.result) {
		got = append(got, f.base)
	}
	want := "steps/concurrency_1 steps/concurrency_2 steps/concurrency_5 steps/search/concurrency_5 steps/search/concurrency_3 steps/search/concurrency_3_2"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
}

func TestPicturesAreSlides(t *testing.T) {
	pics, err := pictures(slotsFixture().result, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(pics) < 7 {
		t.Fatalf("%d pictures", len(pics))
	}
	for _, p := range pics {
		var b bytes.Buffer
		if err := p.write(&b); err != nil {
			t.Fatal(p.path, err)
		}
		c, err := png.DecodeConfig(&b)
		if err != nil || c.Width != 1920 || c.Height != 1080 {
			t.Errorf("%s: %dx%d, %v", p.path, c.Width, c.Height, err)
		}
	}
}

// TestGuideScripts reads the step files as the guide's two scripts do.
func TestGuideScripts(t *testing.T) {
	b := slotsFixture()
	dir := t.TempDir()
	if err := WriteAll(dir, b.result, Options{}); err != nil {
		t.Fatal(err)
	}
	best, optimum := 0.0, 0
	for _, n := range []int{1, 2, 5, 10, 20, 50, 100} {
		raw, err := os.ReadFile(filepath.Join(dir, "steps", "concurrency_"+count(n)+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var data map[string]any
		if err := json.Unmarshal(raw, &data); err != nil {
			t.Fatal(err)
		}
		if e := data["request_throughput"].(float64) / float64(n); e > best {
			best, optimum = e, n
		}
	}
	if optimum != 1 {
		t.Errorf("whole-run optimum %d", optimum)
	}
	log, err := os.ReadFile(filepath.Join(dir, "steps", "concurrency_100.log"))
	if err != nil {
		t.Fatal(err)
	}
	field := func(label string, n int) string {
		for _, line := range strings.Split(string(log), "\n") {
			if strings.Contains(line, label) {
				return strings.Fields(line)[n-1]
			}
		}
		return ""
	}
	step := b.result.Steps[6]
	for _, c := range []struct {
		label string
		field int
		want  string
	}{
		{"Successful requests:", 3, "1000"},
		{"Request throughput", 4, step.Whole.RequestThroughput.Format(2)},
		{"Mean TTFT", 4, number(step.Whole.TTFT.Mean.Or(0) * 1000).Format(2)},
	} {
		if got := field(c.label, c.field); got != c.want {
			t.Errorf("%s: %q, want %q", c.label, got, c.want)
		}
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{significant(0.0123456), "0.0123"}, {significant(12.345), "12.3"}, {significant(12345.6), "12,346"}, {significant(0), "0"}, {significant(-1234), "-1,234"},
		{seconds(number(.0204)), "20.4 ms"}, {seconds(number(1.2814)), "1,281 ms"}, {seconds(number(12.34)), "12.3 s"},
		{percent(number(.9996), 1), "99.96 %"}, {percent(number(1), 1), "100.0 %"}, {percent(number(.95), 0), "95 %"},
		{seconds(sweep.Ladder{}.LastGood), "n/a"}, {whole(number(1e6)), "1,000,000"}, {plain(.30000000000000004), "0.3"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
