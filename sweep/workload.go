package sweep

// Workload is what a controller must know of the requests that it sends. Zero
// means unknown.
type Workload struct {
	PromptTokens float64 // mean tokens of a prompt, the conversation so far included
	OutputTokens float64 // mean tokens of an answer
	Turns        int     // requests, one after the other, that each prompt opens; 0: one
	SharedPrefix bool    // prompts share prefixes on purpose, so that cache hits are wanted
}

// Requests is how many requests so many prompts come to, at most.
func (w Workload) Requests(prompts int) int { return prompts * max(w.Turns, 1) }
