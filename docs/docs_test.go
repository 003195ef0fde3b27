// Package docs checks the hand-written pages against the code: a page that
// quotes a message, a key, a flag or a file that is gone is worse than none.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages returns the hand-written pages by name.
func pages(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("*.md")
	if err != nil || len(names) == 0 {
		t.Fatal("no pages", err)
	}
	out := map[string]string{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if name != "config.md" { // generated
			out[name] = string(b)
		}
	}
	return out
}

// sources returns the text of everything that the program is made of.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if name == "docs" || name == "testdata" || name == "packaging" || (strings.HasPrefix(name, ".") && path != "..") {
				return filepath.SkipDir
			}
			return nil
		}
		isGo := strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
		if !isGo && !strings.HasSuffix(path, "assets/en.json") {
			return nil
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		all.WriteByte('\n')
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// TestQuotedMessagesExist: the headings of the troubleshooting page quote
// messages, with "…" where the program fills something in.
func TestQuotedMessagesExist(t *testing.T) {
	code := sources(t)
	found := 0
	for line := range strings.SplitSeq(pages(t)["troubleshooting.md"], "\n") {
		message, ok := strings.CutPrefix(line, "### ")
		if !ok {
			continue
		}
		found++
		for part := range strings.SplitSeq(message, "…") {
			part = strings.TrimSpace(part)
			quoted := strings.ReplaceAll(part, `"`, `\"`)
			percent := strings.ReplaceAll(part, "%", "%%")
			if part != "" && !strings.Contains(code, part) && !strings.Contains(code, quoted) && !strings.Contains(code, percent) {
				t.Errorf("no message says %q (of %q)", part, message)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d messages on the page", found)
	}
}

// TestQuotedKeysExist: what looks like a configuration key is one.
func TestQuotedKeysExist(t *testing.T) {
	b, err := os.ReadFile("../internal/config/keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for line := range strings.SplitSeq(string(b), "\n") {
		key, _, _ := strings.Cut(line, "\t")
		known[key] = true
	}
	key := regexp.MustCompile("`((?:target|workload|load|sweep|stop|recommend|output|report)\\.[a-z0-9_.]+)`?")
	for name, text := range pages(t) {
		for _, m := range key.FindAllStringSubmatch(text, -1) {
			k := strings.TrimRight(m[1], ".")
			if file := slices.Contains([]string{".go", ".md", ".html"}, filepath.Ext(k)); !known[k] && !file {
				t.Errorf("%s: there is no key %s", name, k)
			}
		}
	}
}

// TestFlagsExist: flags of lines that call capfind, and flags in quotes on pages
// about capfind alone.
func TestFlagsExist(t *testing.T) {
	b, err := os.ReadFile("config.md")
	if err != nil {
		t.Fatal(err)
	}
	code := sources(t)
	flag := regexp.MustCompile(`--([a-z][a-z0-9-]+)`)
	for name, text := range pages(t) {
		for line := range strings.SplitSeq(text, "\n") {
			_, call, ok := strings.Cut(line, "capfind ")
			if !ok || slices.ContainsFunc([]string{"docker", "kubectl", "git ", "tar ", "go -C"}, func(s string) bool { return strings.Contains(line, s) }) || name == "comparison.md" || name == "engines.md" {
				continue
			}
			for _, m := range flag.FindAllStringSubmatch(call, -1) {
				if !strings.Contains(string(b), "`--"+m[1]+"`") && !strings.Contains(code, `"`+m[1]+`"`) {
					t.Errorf("%s: there is no flag --%s", name, m[1])
				}
			}
		}
	}
}

// TestLinkedFilesExist: links within the repository lead somewhere.
func TestLinkedFilesExist(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	for name, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestMentionedSourceFilesExist: a path in quotes that names a file of the
// repository names one that is there.
func TestMentionedSourceFilesExist(t *testing.T) {
	path := regexp.MustCompile("`((?:loadgen|analysis|sweep|report|internal|cmd|packaging|examples)/[a-zA-Z0-9_/.-]+)`")
	for name, text := range pages(t) {
		for _, m := range path.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestCommandsExist: what the pages tell to run can be run.
func TestCommandsExist(t *testing.T) {
	code := sources(t)
	command := regexp.MustCompile("(?m)(?:`|^    )capfind ([a-z]+)")
	for name, text := range pages(t) {
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`Name:\s+"` + m[1] + `"`).MatchString(code) {
				t.Errorf("%s: there is no command capfind %s", name, m[1])
			}
		}
	}
}
