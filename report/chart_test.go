package report

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
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
		pics, err := pictures(b.result)
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
