package probe

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
)

const noOutput = "the answer holds no output"

// unknownModel matches complaints about the model among other bad requests.
var unknownModel = regexp.MustCompile(`model.*(not exist|not found|unknown|required|no such)|(unknown|no such|missing|invalid) model`)

// refusal returns what is wrong with a reply; nil where it is a proper answer.
func (f *finder) refusal(a *reply) *Error {
	if a.status != http.StatusOK {
		e := f.fault(a.response)
		text := strings.ToLower(e.Text)
		switch {
		case e.Kind == ErrAPI && strings.Contains(text, "model"), e.Kind == ErrRefused && unknownModel.MatchString(text):
			e.Kind, e.Advice = ErrModel, "set model to one of: "+shortList(f.Models)
		case e.Kind == ErrRefused && strings.Contains(text, "template"):
			// A base model has no chat template: the next API may do.
			e.Kind, e.Advice = ErrAPI, "set api: openai-completions, which needs no chat template"
		case e.Kind == ErrRefused:
			e.Advice = "the server's own words should say what it wants; extra_body and api change what is sent"
		}
		return e
	}
	e := &Error{Kind: ErrRefused, Method: a.method, URL: a.url, Status: a.status}
	switch {
	case a.problem != "":
		e.Text = f.clean(a.problem)
	case a.outputs == 0:
		e.Text, e.Advice = noOutput, "check api and model; a model that reasons in secret needs a longer output_len"
	case !a.proper:
		e.Text, e.Advice = "the answer ended without a finish mark", "look at the server's log, or at a proxy in between"
	default:
		return nil
	}
	return e
}

// learn notes what the warm-up answer shows.
func (f *finder) learn(a *reply) {
	f.Streams = !a.plain
	f.CountsUsage = a.outputTokens > 0
	f.HoldsOutput = a.outputTokens == f.warmUp.OutputTokens
	f.counted, f.answered = a.promptTokens, a.outputTokens
	f.Buffered = a.buffered()
}

// buffered reports whether an answer that should have come bit by bit came at
// once. A model takes milliseconds for a token; shorter mean gaps, after a wait,
// mean that something collected them.
func (a *reply) buffered() bool {
	const shortestGap, shortestWait = 200 * time.Microsecond, 20 * time.Millisecond
	if a.plain || a.last < shortestWait || a.counted() < warmUpOutput/2 {
		return false
	}
	return (a.last-a.first)/time.Duration(a.counted()) < shortestGap
}

// judge turns what the warm-up showed into notes and warnings.
func (f *finder) judge(ctx context.Context) error {
	if f.Buffered {
		// The first answer of a cold server proves little.
		a, err := f.askPatiently(ctx, f.warmUp)
		if err != nil {
			return err
		}
		f.learn(a)
	}
	if !api.Generates(f.Protocol) {
		f.note("its answers have no tokens and come in one piece: there is no TTFT and no output length, and latency is judged by E2E")
		return nil
	}
	if !f.Streams && !f.target.NoStream {
		f.warn("the server does not stream: it answered in one piece, so there is no TTFT, and latency is judged by E2E")
	}
	if f.Buffered {
		f.warn("the answer came all at once at its end: something between here and the model (a proxy?) collects the stream, so TTFT is about E2E; switch its buffering off")
	}
	if !f.CountsUsage {
		f.note("the server does not count output tokens: output events are counted instead")
	}
	if f.Options.HoldOutputLength && f.CountsUsage && !f.HoldsOutput {
		f.warn(fmt.Sprintf("the server does not hold the output length: %d tokens were asked for as a warm-up and %d came, so answers are as long as the model likes", f.warmUp.OutputTokens, f.answered))
	}
	return nil
}

// checkContext refuses a workload of which every request would be too long.
func (f *finder) checkContext(ctx context.Context) error {
	if f.Kind == KindOllama { // it knows only of a model that is loaded
		f.ContextLength = f.loadedContext(ctx)
	}
	c := f.options.Workload
	if f.ContextLength == 0 || !c.Generated() {
		return nil
	}
	longest := func(mean int) int { return int(math.Ceil(float64(mean) * (1 + c.RangeRatio))) }
	turns := 1
	if c.Dataset == prompt.Conversation {
		turns = c.Turns
	}
	input := c.PrefixLen + turns*longest(c.InputLen)
	need := input + turns*longest(c.OutputLen)
	if !api.Generates(f.Protocol) {
		need = input // of each text
	}
	if need <= f.ContextLength {
		if need+input/50 > f.ContextLength {
			f.warn(fmt.Sprintf("requests of %d tokens nearly fill the context of %d, and lengths vary a little from prompt to prompt: some may be refused as too long", need, f.ContextLength))
		}
		return nil
	}
	return &Error{Kind: ErrContext,
		Text:   fmt.Sprintf("a request takes up to %d tokens, and %s has a context of %d", need, cmp.Or(f.Model, "the model"), f.ContextLength),
		Advice: "lower input_len or output_len, or serve the model with a longer context"}
}

// loadedContext returns the context length that Ollama loaded the model with; 0
// where it does not say.
func (f *finder) loadedContext(ctx context.Context) int {
	var list struct {
		Models []struct {
			Name          string `json:"name"`
			ContextLength int    `json:"context_length"`
		} `json:"models"`
	}
	r, err := f.get(ctx, "/api/ps")
	if err != nil || !r.read(&list) {
		return 0
	}
	for _, m := range list.Models {
		if m.Name == f.Model || m.Name == f.Model+":latest" {
			return m.ContextLength
		}
	}
	return 0
}
