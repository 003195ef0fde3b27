package report

import (
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
}
