package report

import (
	"io/fs"
	"os"
	"regexp"
	"sort"
	"strings"
	"testing"
)

var (
	sayKey   = regexp.MustCompile(`\b[sS]ayf?\(?\s*"([a-zA-Z0-9.\-]+)"`)
	bareKey  = regexp.MustCompile(`"((?:sizing|series|unit|axis|why|caveat|share|stop|read|fact|env|chart|col|compare)\.[a-zA-Z0-9_\-]+)"`)
	verb     = regexp.MustCompile(`%(?:\[(\d)\])?([a-z%])`)
	families = []string{"stat.", "class.", "term.", "phase.", "basis.", "check.", "rule.", "verdict.", "command.", "bottleneck.", "chart.", "live."}
)

// TestDictionaries holds that both languages have every text that the code and
// the templates ask for, and no other, and take the same figures.
func TestDictionaries(t *testing.T) {
	en, zh := testWords(t, English), testWords(t, Chinese)
	used := map[string]bool{}
	collect := func(src string) {
		for _, re := range []*regexp.Regexp{sayKey, bareKey} {
			for _, m := range re.FindAllStringSubmatch(src, -1) {
				used[m[1]] = true
			}
		}
	}
	files, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	templates, err := fs.Glob(os.DirFS("."), "assets/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, templates...) {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		collect(string(raw))
	}
	for key := range used {
		if _, ok := en.text[key]; !ok && !strings.HasSuffix(key, ".") && !strings.HasSuffix(key, "-") && !strings.HasSuffix(key, ".html") {
			t.Errorf("%q is asked for and not in the dictionary", key)
		}
	}
	for key, text := range en.text {
		other, ok := zh.text[key]
		if !ok {
			t.Errorf("%q has no Chinese text", key)
			continue
		}
		if a, b := arguments(text), arguments(other); a != b {
			t.Errorf("%q takes %s in English and %s in Chinese", key, a, b)
		}
		family := false
		for _, f := range families {
			family = family || strings.HasPrefix(key, f)
		}
		if !used[key] && !family {
			t.Errorf("%q is never used", key)
		}
	}
	if len(zh.text) != len(en.text) {
		t.Errorf("%d English and %d Chinese texts", len(en.text), len(zh.text))
	}
}

// arguments lists which arguments a format takes, in order of their number.
func arguments(format string) string {
	var list []string
	next := 1
	for _, m := range verb.FindAllStringSubmatch(format, -1) {
		if m[2] == "%" {
			continue
		}
		if m[1] != "" {
			next = int(m[1][0] - '0')
		}
		list = append(list, string(rune('0'+next))+m[2])
		next++
	}
	sort.Strings(list)
	return strings.Join(list, " ")
}

func TestUnknownLanguage(t *testing.T) {
	if err := HTML(discard{}, slotsFixture().result, Options{Language: "fr"}); err == nil || !strings.Contains(err.Error(), `"fr"`) {
		t.Errorf("error %v", err)
	}
}

func TestDefaultLanguage(t *testing.T) {
	w, err := dictionary("")
	if err != nil || w.lang != English {
		t.Errorf("without a language: %q, %v", w.lang, err)
	}
}
