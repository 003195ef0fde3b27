package report

import (
	"embed"
	"encoding/json"
	"fmt"
	"sync"
)

// Language is the language of a report.
type Language string

// The languages.
const (
	English Language = "en"
	Chinese Language = "zh"
)

//go:embed assets
var assets embed.FS

// words is the dictionary of one language: texts by key, some with printf verbs.
type words struct {
	lang Language
	text map[string]string
}

var dictionaries = sync.OnceValues(func() (map[Language]words, error) {
	all := map[Language]words{}
	for _, lang := range []Language{English, Chinese} {
		raw, err := assets.ReadFile("assets/" + string(lang) + ".json")
		if err != nil {
			return nil, err
		}
		w := words{lang: lang}
		if err := json.Unmarshal(raw, &w.text); err != nil {
			return nil, fmt.Errorf("dictionary %s: %w", lang, err)
		}
		all[lang] = w
	}
	return all, nil
})

// dictionary returns the words of a language; English where none is named.
func dictionary(lang Language) (words, error) {
	all, err := dictionaries()
	if err != nil {
		return words{}, err
	}
	if lang == "" {
		lang = English
	}
	w, ok := all[lang]
	if !ok {
		return words{}, fmt.Errorf("report language %q is not known: use en or zh", lang)
	}
	return w, nil
}

// say returns a text with its figures filled in. A key that the dictionary
// lacks is shown as it is: names that come from outside (an SLO's name, a new
// rule) are their own best text.
func (w words) say(key string, args ...any) string {
	text, ok := w.text[key]
	if !ok {
		return key
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// name translates a word out of a family of known ones, such as the rules; a
// word that is not known stands for itself.
func (w words) name(family, word string) string {
	if text, ok := w.text[family+"."+word]; ok {
		return text
	}
	return word
}
