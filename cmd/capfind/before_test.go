package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Results that the version before this one has written are rendered as ever.
func TestReportOfResultsFromBefore(t *testing.T) {
	for kind, says := range map[string]string{
		"sweep": "**Limit found: 8 concurrent requests**",
		"qps":   "holds 95 % of 100 req/s",
	} {
		dir := t.TempDir()
		old, err := os.ReadFile(filepath.Join("testdata", "before", kind, "result.json"))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "result.json"), old, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, err := exec.Command("capfind", "report", dir).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", kind, err, text)
		}
		page, err := os.ReadFile(filepath.Join(dir, "report.html"))
		if err != nil {
			t.Fatal(err)
		}
		md, err := os.ReadFile(filepath.Join(dir, "report.md"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(md), says) || !strings.Contains(string(page), "<svg") {
			t.Errorf("%s: the report does not say %q:\n%s", kind, says, md)
		}
	}
}
