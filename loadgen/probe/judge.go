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
		limit, tooLong := api.ContextOverflow(e.Text)
		tooLong = tooLong && e.Kind != ErrNotReady && e.Kind != ErrAuth
		switch {
		case e.Kind == ErrAPI && strings.Contains(text, "model"), e.Kind == ErrRefused && unknownModel.MatchString(text):
			e.Kind, e.Advice = ErrModel, "set model to one of: "+shortList(f.Models)
		case e.Kind == ErrRefused && strings.Contains(text, "template"):
			// A base model has no chat template: the next API may do.
			e.Kind, e.Advice = ErrAPI, "set api: openai-completions, which needs no chat template"
		case tooLong:
			e.Kind, e.Advice = ErrContext, "lower input_len or output_len, or serve the model with a longer context"
			if f.ContextLength == 0 {
				f.ContextLength = limit
			}
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
	case !a.finished && !a.ended:
		e.Kind, e.Text, e.Advice = ErrCut, fmt.Sprintf("it ended after %d output events, without a finish mark", a.outputs), cutAdvice
	default:
		return nil
	}
	return e
}

// learn notes what the warm-up answer shows.
func (f *finder) learn(a *reply) {
	f.Streams = !a.plain
	f.CountsUsage = a.tokens.Usage
	f.HoldsOutput = a.tokens.Usage && a.tokens.Tokens == f.warmUp.OutputTokens
	f.counted, f.answer = a.promptTokens, a
	f.Buffered = a.buffered()
	if n := a.tokens.Tokens; n > 1 && !a.plain && !f.Buffered {
		f.Decoding = (a.last - a.first) / time.Duration(n-1) * time.Duration(f.options.Workload.OutputLen)
	}
}

// buffered reports whether an answer that should have come bit by bit came at
// once. A model takes milliseconds for a token; shorter mean gaps, after a wait,
// mean that something collected them.
func (a *reply) buffered() bool {
	const shortestGap, shortestWait = 200 * time.Microsecond, 20 * time.Millisecond
	if a.plain || a.last < shortestWait || a.tokens.Tokens < warmUpOutput/2 {
		return false
	}
	return (a.last-a.first)/time.Duration(a.tokens.Tokens) < shortestGap
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
	if err := f.judgeCounts(ctx); err != nil {
		return err
	}
	if f.Options.HoldOutputLength && f.CountsUsage && !f.HoldsOutput {
		f.warn(fmt.Sprintf("the server does not hold the output length: %d tokens were asked for as a warm-up and %d came, so answers are as long as the model likes", f.warmUp.OutputTokens, f.answer.tokens.Tokens))
	}
	return nil
}

// judgeCounts says how the server counts output tokens, and asks for more where it
// can tell more.
func (f *finder) judgeCounts(ctx context.Context) error {
	if f.understates() > understateMost && f.askEveryChunk() {
		if err := f.tryProtocol(ctx); err != nil {
			return err
		}
	}
	count := f.answer.tokens
	switch {
	case count.Doubted > 0:
		f.warn(fmt.Sprintf("the server's count of output tokens contradicts its stream: %d by its count, %d output events, %d believed", count.Doubted, f.answer.outputs, count.Tokens))
	case !f.CountsUsage:
		f.note("the server does not count output tokens: output events are counted instead")
	}
	if f.understates() > understateMost {
		f.warn(fmt.Sprintf("%.1f tokens come in a chunk, and the server does not say how many in the first: TPOT is understated",
			float64(count.Tokens)/float64(f.answer.outputs)))
	} else if f.Options.ContinuousUsageStat {
		f.note("several tokens come in a chunk: the server is asked to count them in every one, so that TPOT leaves out those of the first")
	}
	return nil
}

// understateMost is by how much TPOT may be understated without a word.
const understateMost = 0.02

// understates is by how much TPOT will be understated because the first chunk's
// tokens are not known: short by those beyond the first, of all after the first.
func (f *finder) understates() float64 {
	a := f.answer
	if a.plain || a.outputs < 2 || a.tokens.First > 0 {
		return 0
	}
	inFirst := float64(a.tokens.Tokens) / float64(a.outputs)
	length := float64(cmp.Or(f.options.Workload.OutputLen, a.tokens.Tokens))
	return max(0, (inFirst-1)/max(1, length-1))
}

// askEveryChunk has usage sent in every chunk, where the server can.
func (f *finder) askEveryChunk() bool {
	able := f.Kind == KindVLLM || f.Kind == KindSGLang
	return able && strings.HasPrefix(f.Protocol.Name(), "openai") && !f.Options.NoUsage && turn(&f.Options.ContinuousUsageStat, true)
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
