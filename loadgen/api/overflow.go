package api

import (
	"regexp"
	"strconv"
	"strings"
)

// overflow matches the words in which servers refuse a request because prompt and
// answer together are longer than the model's context. The same request fails at
// any load. NOT among them is llama.cpp's "Context size has been exceeded.": it says
// so where the cache that its slots share is full, which is the load's doing.
var overflow = regexp.MustCompile(`(?i)` + strings.Join([]string{
	`maximum context length`,                            // OpenAI, vLLM, SGLang, and most gateways
	`context_length_exceeded`,                           // OpenAI's code, where a gateway passes on only that
	`longer than the (maximum )?(model|context) length`, // vLLM
	`exceeds? (the |this |your |its )?(model'?s? |available |maximum |max |allowed |configured )*context`,                                  // llama.cpp, Ollama, OpenAI
	`(longer|greater|larger) than the (model'?s? )?context`,                                                                                // SGLang, LM Studio
	`(input|prompt|messages?)( length| tokens?| token count)?( \([0-9, a-z]+\))? (exceeds?|exceed) the (maximum|configured|limit|context)`, // SGLang, Gemini, OpenAI
	"`inputs` (must have less than|tokens \\+ `max_new_tokens` must be)",                                                                   // TGI
	`(prompt|input) is too long`,           // Anthropic, Bedrock
	`max_tokens.{1,3}exceed context limit`, // Anthropic
}, "|"))

// contextLimits find how long the context is in such words.
var contextLimits = regexp.MustCompile(`(?i)` + strings.Join([]string{
	`(?:maximum|max)(?: allowed)? (?:context|model|input) length(?: is| of)?(?: only)? ([0-9][0-9,]*)`,
	`context (?:length|size|window|limit) \(?(?:is |of )?(?:only )?([0-9][0-9,]*)`,
	`(?:allowed|allowed length|maximum length|limit) \(([0-9][0-9,]*)`,
	`(?:configured )?limit of ([0-9][0-9,]*) tokens`,
	`must have less than ([0-9][0-9,]*) tokens`,
	`must be <= ([0-9][0-9,]*)`,
	`> ([0-9][0-9,]*) (?:maximum|tokens)`,
	`exceed context limit: [0-9, +]+> ([0-9][0-9,]*)`,
}, "|"))

// ContextOverflow reports whether a server's message says that a request is longer
// than the model's context, and how many tokens that is; 0 where it does not say.
func ContextOverflow(message string) (tokens int, ok bool) {
	if !overflow.MatchString(message) {
		return 0, false
	}
	for _, m := range contextLimits.FindAllStringSubmatch(message, -1) {
		for _, digits := range m[1:] {
			if n, err := strconv.Atoi(strings.ReplaceAll(digits, ",", "")); err == nil && n > 0 {
				return n, true
			}
		}
	}
	return 0, true
}
