package sweep

// Workload is what a controller must know of the requests that it sends. Zero
// means unknown.
type Workload struct {
	PromptTokens float64 // mean tokens of a prompt
	OutputTokens float64 // mean tokens of an answer
	SharedPrefix bool    // prompts share prefixes on purpose, so that cache hits are wanted
}
