package report

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// What a result holds in sentences was worded where it was found out, in English,
// and stays so in result.json. In other languages the page says the same from a
// catalogue: the English sentence with its figures taken out, and what to say
// instead with the figures put in. A placeholder's first letter says what it
// stands for, and so what can be taken for it:
//
//	{n} {m}  a number             {p}  a percentage    {t}  a time
//	{r} {i}  a range, a share     {f}  failures by class
//	{l}      a load, said in the other language too
//	{s}      a sentence, a list of them or a name, said in the other language too
//	{b}      a name, likewise: nothing that goes on after a semicolon
//	{x}      anything, left as it is
//
// What matches nothing, such as a server's own message, is shown as it is.
type catalogue struct {
	patterns []pattern
	exact    map[string]string
}

// pattern is one sentence with figures in it.
type pattern struct {
	english string
	prefix  string // what the sentence begins with, for a quick look
	match   *regexp.Regexp
	names   []string // of the placeholders, in the order of the match
	instead string
}

var placeholder = regexp.MustCompile(`\{([a-z])[0-9]*\}`)

const figurePattern = `[-+±]?[0-9][0-9.,]*(?:e[-+]?[0-9]+)?`

// standsFor is what each kind of placeholder takes. A figure may be unknown.
var standsFor = map[byte]string{
	'n': figurePattern + `|n/a|unknown`,
	'm': figurePattern + `|n/a|unknown`,
	'p': figurePattern + ` %|n/a`,
	't': figurePattern + ` (?:ms|s)|(?:[0-9.]+(?:h|ms|m|µs|s))+|n/a`,
	'r': figurePattern + `(?:-` + figurePattern + `)?|unknown`,
	'i': figurePattern,
	'f': `[0-9]+ [a-z0-9_]+(?:, [0-9]+ [a-z0-9_]+)*`,
	'l': `1 request in flight|[0-9]+ requests in flight|[0-9.]+ req/s(?: with at most [0-9]+ in flight)?`,
	's': `.+?`,
	'b': `[^;]+?`,
	'x': `.+?`,
}

// catalogues are read once; English needs none.
var catalogues = sync.OnceValues(func() (map[Language]*catalogue, error) {
	raw, err := assets.ReadFile("assets/sentences.zh.json")
	if err != nil {
		return nil, err
	}
	c, err := readCatalogue(raw)
	if err != nil {
		return nil, fmt.Errorf("sentences in Chinese: %w", err)
	}
	return map[Language]*catalogue{English: {}, Chinese: c}, nil
})

func readCatalogue(raw []byte) (*catalogue, error) {
	c := &catalogue{exact: map[string]string{}}
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	for decoder.More() { // in the order of the file: what comes first is tried first
		key, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var instead string
		if err := decoder.Decode(&instead); err != nil {
			return nil, err
		}
		c.add(key.(string), instead)
	}
	return c, nil
}

func (c *catalogue) add(english, instead string) {
	spots := placeholder.FindAllStringSubmatchIndex(english, -1)
	if len(spots) == 0 {
		c.exact[english] = instead
		return
	}
	p := pattern{english: english, prefix: english[:spots[0][0]], instead: instead}
	var b strings.Builder
	at := 0
	for _, s := range spots {
		b.WriteString(regexp.QuoteMeta(english[at:s[0]]))
		b.WriteString("(" + standsFor[english[s[2]]] + ")")
		p.names = append(p.names, english[s[0]:s[1]])
		at = s[1]
	}
	b.WriteString(regexp.QuoteMeta(english[at:]))
	p.match = regexp.MustCompile("^" + b.String() + "$")
	c.patterns = append(c.patterns, p)
}

// say returns the sentence in the catalogue's language; ok is false where it is
// not known there.
func (c *catalogue) say(sentence string) (text string, ok bool) {
	if text, ok := c.exact[sentence]; ok {
		return text, true
	}
	for _, p := range c.patterns {
		if !strings.HasPrefix(sentence, p.prefix) {
			continue
		}
		m := p.match.FindStringSubmatch(sentence)
		if m == nil {
			continue
		}
		with := make([]string, 0, 2*len(p.names))
		for i, name := range p.names {
			value := m[i+1]
			if strings.IndexByte("slb", name[1]) >= 0 {
				value = c.sayAll(value)
			}
			with = append(with, name, value)
		}
		return strings.NewReplacer(with...).Replace(p.instead), true
	}
	return sentence, false
}

// sayAll returns a sentence or a list of them in the catalogue's language, with
// what is not known there left as it is.
func (c *catalogue) sayAll(text string) string {
	if said, ok := c.say(text); ok {
		return said
	}
	parts := splitList(text)
	before := false
	var b strings.Builder
	for i, part := range parts {
		said, known := c.say(part)
		switch {
		case i == 0:
		case known || before:
			b.WriteString("；")
		default: // neither is known: one text of a stranger, that has "; " in it
			b.WriteString("; ")
		}
		b.WriteString(said)
		before = known
	}
	return b.String()
}

// splitList takes a list of sentences apart, but not what one says in brackets.
func splitList(text string) []string {
	var parts []string
	depth, from := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '(':
			depth++
		case ')':
			depth = max(0, depth-1)
		case ';':
			if depth == 0 && i+1 < len(text) && text[i+1] == ' ' {
				parts = append(parts, text[from:i])
				from = i + 2
			}
		}
	}
	return append(parts, text[from:])
}

// sentence says one of a result's own sentences in the language of the page.
func (w words) sentence(text string) string {
	if w.lang == English || text == "" {
		return text
	}
	all, err := catalogues()
	if err != nil || all[w.lang] == nil {
		return text // TestSentences sees to it that there is one
	}
	return all[w.lang].sayAll(text)
}

// closed is a sentence as one that stands by itself: with a capital letter and a
// full stop.
func (w words) closed(text string) string {
	text = capital(w.sentence(text))
	if text == "" || strings.ContainsAny(text[len(text)-1:], ".!?:") || strings.HasSuffix(text, "。") {
		return text
	}
	return text + w.say("list.end")
}

// closedAll closes every sentence of a list. Of those that differ in nothing but
// their figures the first two are kept, and the others counted.
func (w words) closedAll(texts []string) []string {
	const kept = 2
	count := map[string]int{}
	kind := func(s string) string { return figures.ReplaceAllString(s, "0") }
	for _, s := range texts {
		count[kind(s)]++
	}
	var out []string
	seen := map[string]int{}
	for _, s := range texts {
		k := kind(s)
		seen[k]++
		switch n := count[k]; {
		case n <= kept+1 || seen[k] <= kept:
			out = append(out, w.closed(s))
		case seen[k] == kept+1:
			out = append(out, w.say("list.more", fmt.Sprint(n-kept)))
		}
	}
	return out
}

// figures also takes the sign of a change.
var figures = regexp.MustCompile(`[-+]?[0-9][0-9.,]*`)
