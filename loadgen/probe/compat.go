package probe

import (
	"regexp"
	"strings"

	"github.com/capfind/capfind/loadgen/api"
)

// quirk is a parameter that some servers refuse, and what to do without it.
type quirk struct {
	names []string // as the server may call it
	note  string
	drop  func(o *api.Options) bool // false where the request does not carry it
}

// quirks in the order in which they are given up where a server complains of
// unknown parameters without naming one.
var quirks = []quirk{
	{[]string{"continuous_usage_stats"}, "the server refuses continuous_usage_stats: left out", func(o *api.Options) bool {
		return turn(&o.ContinuousUsageStat, false)
	}},
	{[]string{"ignore_eos"}, "the server refuses ignore_eos: left out, so answers may end before output_len", func(o *api.Options) bool {
		return o.HoldOutputLength && turn(&o.NoIgnoreEOS, true)
	}},
	{[]string{"min_tokens", "min_new_tokens"}, "the server refuses min_tokens: left out, so answers may end before output_len", func(o *api.Options) bool {
		return o.HoldOutputLength && turn(&o.NoMinTokens, true)
	}},
	{[]string{"stream_options", "include_usage"}, "the server refuses stream_options: left out, so output tokens may have to be counted by events", func(o *api.Options) bool {
		return !o.NoStream && turn(&o.NoUsage, true)
	}},
}

// turn sets b and reports whether that changed it.
func turn(b *bool, to bool) bool {
	changed := *b != to
	*b = to
	return changed
}

// objection matches the words in which servers refuse a parameter.
var objection = regexp.MustCompile(`(?i)unknown|unrecogni[sz]ed|unsupported|not supported|does not support|not permitted|not allowed|unexpected|extra (inputs|fields|parameters)|additional propert|invalid (parameter|argument|field)`)

// parameters matches names of parameters in a message.
var parameters = regexp.MustCompile(`[a-z]+(?:_[a-z]+)*`)

// adjust drops or swaps what the server's message names, each at most once, and
// returns notes of what it did; nil where the message names nothing that can be
// changed. What the user put into extra_body is never changed.
func adjust(o *api.Options, message string) (notes []string) {
	named := map[string]bool{}
	for _, name := range parameters.FindAllString(strings.ToLower(message), -1) {
		if _, own := o.Extra[name]; !own {
			named[name] = true
		}
	}
	for _, q := range quirks {
		for _, name := range q.names {
			if named[name] && q.drop(o) {
				notes = append(notes, q.note)
			}
		}
	}
	if note := swapMaxTokens(o, named, objection.MatchString(message)); note != "" {
		notes = append(notes, note)
	}
	if len(notes) > 0 || !objection.MatchString(message) {
		return notes
	}
	switch {
	case named["temperature"] && o.Temperature != nil:
		o.Temperature = nil
		return []string{"the server refuses temperature: left out"}
	case (named["stream"] || named["streaming"]) && turn(&o.NoStream, true):
		return []string{"the server refuses to stream: plain answers are asked for"}
	case len(o.Extra) > 0:
		return nil // it may well be one of the user's own
	}
	for _, q := range quirks {
		if q.drop(o) {
			return []string{q.note + " (it did not say which parameter it refuses)"}
		}
	}
	return nil
}

// swapMaxTokens changes between max_tokens and max_completion_tokens. A message
// that only says that max_tokens is too large is none of its business.
func swapMaxTokens(o *api.Options, named map[string]bool, refused bool) string {
	const short, long = "max_tokens", "max_completion_tokens"
	switch {
	case o.MaxTokensField == "" && named[short] && (named[long] || refused):
		o.MaxTokensField = long
		return "the server refuses max_tokens: max_completion_tokens is sent instead"
	case o.MaxTokensField == long && named[long] && refused:
		o.MaxTokensField = short
		return "the server refuses max_completion_tokens: max_tokens is sent instead"
	}
	return ""
}
