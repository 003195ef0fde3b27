package api

// slow is fast's meaning in full, with the forms that only some servers use.
func (p *openAI) slow(o object, e *Event) {
	var out output
	choices := o.list("choices")
	for _, choice := range choices {
		out.slowChoice(choice, e)
	}
	usageOf(o.object("usage"), e)
	if timings := o.object("timings"); timings != nil { // llama.cpp
		e.OutputTokens = max(e.OutputTokens, timings.count("predicted_n"))
		if e.PromptTokens == 0 {
			// prompt_n counts only what was not in the cache.
			e.PromptTokens = timings.count("prompt_n") + timings.count("cache_n")
		}
	}
	// Some gateways report an error as a bare {"code", "message"}.
	if message := o.text("message"); message != "" && !o.has("choices") {
		e.Error = oneLine(message)
	}
	out.into(e, p.keepText)
}

func (t *output) slowChoice(choice object, e *Event) {
	t.slowDelta(choice.object("delta"))
	t.slowDelta(choice.object("message"))
	t.addAnswer(choice.raw("text"))
	usageOf(choice.object("usage"), e)
	switch reason := choice.text("finish_reason"); {
	case reason == "error", reason == "abort":
		t.finish = true
		e.Error = "the server ended the answer with finish_reason " + reason
	case reason != "", choice.has("finish_reason") && choice.raw("finish_reason") == nil:
		t.finish = true
	}
}

func (t *output) slowDelta(delta object) {
	t.addAnswer(delta.raw("content"))
	t.addAnswer(delta.raw("refusal"))
	t.addThought(delta.raw("reasoning_content"))
	t.addThought(delta.raw("reasoning"))
	for _, part := range delta.list("content") { // Mistral: content in parts
		t.addAnswer(part.raw("text"))
		for _, thought := range part.list("thinking") {
			t.addThought(thought.raw("text"))
		}
	}
	if delta.hasElements("tool_calls") || delta.has("function_call") {
		t.answer, t.textless = true, true
	}
}

// usageOf reads a usage object: OpenAI's, or DeepSeek's count of cached tokens.
func usageOf(usage object, e *Event) {
	if usage == nil {
		return
	}
	e.OutputTokens = max(e.OutputTokens, usage.count("completion_tokens"))
	e.PromptTokens = max(e.PromptTokens, usage.count("prompt_tokens"))
	e.HiddenTokens = max(e.HiddenTokens, usage.object("completion_tokens_details").count("reasoning_tokens"))
	details := usage.object("prompt_tokens_details")
	for key, holder := range map[string]object{"cached_tokens": details, "prompt_cache_hit_tokens": usage} {
		if holder.has(key) {
			e.CachedTokens = max(e.CachedTokens, holder.count(key))
		}
	}
}
