// Package probe finds out what there is to know about a server before the clock
// starts: which API it speaks, which model it serves, whether it is ready, which
// parameters it refuses, whether it streams, and how many words make a prompt of
// the length asked for.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
)

// Options say what the probe is for.
type Options struct {
	Workload        prompt.Config // what will be asked; its zero value is prompt.Default
	Wait            time.Duration // how long to wait for a server that says it is not ready; 0: not at all
	WaitForStart    bool          // wait as long also while nothing takes the connection
	SkipCalibration bool
	Progress        func(text string) // hears what takes a while; may be nil
}

// Found is what is known of a server.
type Found struct {
	Target        loadgen.Target // as given, with API and Model filled in
	Protocol      api.Protocol
	Options       api.Options // for every request, the server's quirks settled
	BaseURL       string      // credentials removed
	Kind          Kind
	Server        string // kind and version, e.g. "vllm 0.11.0"; empty where unknown
	Model         string
	Models        []string // as listed; nil where there is no list
	ContextLength int      // tokens; 0 where unknown
	MetricsURL    string   // Prometheus endpoint; empty where there is none

	Streams     bool // false: the answers are plain JSON, so there is no TTFT
	Buffered    bool // streamed, but all at once: something holds the stream back
	HoldsOutput bool // the warm-up answer had exactly the length asked for, by the server's count
	CountsUsage bool // the server counts output tokens; else events are counted
	// Decoding is about how long an answer of the workload takes from its first token to
	// its last, alone: the warm-up's, scaled to the length asked for. 0 where unknown.
	Decoding    time.Duration
	Sizer       prompt.Sizer
	Calibration prompt.Calibration // zero where there was none
	CountTokens prompt.Counter     // the server's own tokenizer, where prompts that exceed a known context are to be dropped; else nil

	Notes    []string // what was found and done, for people: dropped parameters and the like
	Warnings []string // what makes figures mean less than they seem

	server    *server
	readyPath string
}

// Ready asks the server whether it takes requests; nil when it does.
func (f *Found) Ready(ctx context.Context) error {
	defer f.server.client.CloseIdleConnections()
	return f.server.ready(ctx, f.readyPath)
}

// finder is a Found in the making.
type finder struct {
	Found
	*server
	options  Options
	patience patience
	id       *identity
	warmUp   prompt.Request
	counted  int // prompt tokens of the warm-up request, by the server's count
	answer   *reply
	torn     int // answers that broke off after their finish mark
	again    int // requests that were sent again after a failure
	failed   error
}

// Discover probes the target. It sends one warm-up request (two where the first
// leaves a doubt) and, where prompts are generated, some short ones to calibrate
// their length. Its error is an *Error wherever the server is the reason.
func Discover(ctx context.Context, t loadgen.Target, key loadgen.Secret, o Options) (*Found, error) {
	s, err := newServer(t, key)
	if err != nil {
		return nil, err
	}
	defer s.client.CloseIdleConnections()
	if o.Workload.Dataset == "" {
		o.Workload = prompt.Default()
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	now := time.Now()
	f := &finder{server: s, options: o, patience: patience{
		began: now, until: now.Add(o.Wait), unconnected: o.WaitForStart, progress: o.Progress,
	}}
	f.Found.server = s
	s.tell = o.Progress
	defer func() { s.tell = nil }()
	for _, step := range []func(context.Context) error{
		f.identifyPatiently, f.settle, f.checkContext, f.judge, f.calibrate,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	f.stumbled()
	if proxy := loadgen.ProxyFor(t); proxy != "" {
		f.warn(fmt.Sprintf("all requests go through the proxy %s, which the environment names, and what it adds is measured with the server: write the server's host into NO_PROXY to go straight", proxy))
	}
	f.MetricsURL = s.metricsURL(ctx)
	return &f.Found, ctx.Err()
}

func (f *finder) note(text string)     { f.Notes = append(f.Notes, text) }
func (f *finder) warn(text string)     { f.Warnings = append(f.Warnings, text) }
func (f *finder) progress(text string) { f.options.Progress(text) }

// identifyPatiently waits until the server says who it is.
func (f *finder) identifyPatiently(ctx context.Context) error {
	for {
		id, err := f.identify(ctx)
		if err == nil {
			// The list may be there before the model is.
			err = f.ready(ctx, id.readyPath())
		}
		if err == nil {
			f.id = id
			break
		}
		if err := f.patience.wait(ctx, err, 0); err != nil {
			return err
		}
	}
	base, err := f.target.URL("/models")
	if err != nil {
		return err
	}
	f.BaseURL = strings.TrimSuffix(publicURL(base), "/models")
	f.Kind, f.Server, f.Models = f.id.kind, f.id.server(), f.id.models
	f.readyPath = f.id.readyPath()
	if f.Model, err = f.chooseModel(f.id, f.target.Model); err != nil {
		return err
	}
	if f.target.Model == "" && len(f.Models) > 1 {
		f.note(fmt.Sprintf("the server lists %d models, and the first is used: set model to choose one of %s", len(f.Models), shortList(f.Models)))
	}
	f.ContextLength = max(f.id.context, f.id.contexts[f.Model])
	return nil
}

// candidates lists the APIs to try, the likeliest first.
func (f *finder) candidates() ([]string, error) {
	if named := f.target.API; named != "" && named != "auto" {
		_, err := api.ByName(named)
		return []string{named}, err
	}
	switch f.Kind {
	case KindOllama:
		return []string{"ollama", "openai-chat"}, nil
	case KindTGI:
		return []string{"openai-chat", "tgi"}, nil
	case KindSGLang:
		return []string{"openai-chat", "openai-completions", "sglang"}, nil
	case KindVLLM, KindLlamaCPP:
		return []string{"openai-chat", "openai-completions"}, nil
	}
	return slices.DeleteFunc(api.Names(), func(name string) bool {
		p, err := api.ByName(name)
		return err == nil && !api.Generates(p) // what writes no text has to be asked for
	}), nil
}

// Lengths of the warm-up request. The answer is long enough to tell a stream from
// a buffered one, and an end-of-sequence token from a length that is held.
const (
	warmUpWords  = 32
	warmUpOutput = 32
	warmUpNumber = 1 << 29 // of its prompt: no run gets there
)

// settle finds the API that answers, and the parameters that it takes, by a
// warm-up request.
func (f *finder) settle(ctx context.Context) error {
	names, err := f.candidates()
	if err != nil {
		return err
	}
	c := prompt.Default()
	c.InputLen, c.OutputLen, c.Seed = warmUpWords, warmUpOutput, f.options.Workload.Seed
	source, _, err := prompt.New(ctx, c, prompt.Sizer{})
	if err != nil {
		return err
	}
	if f.warmUp, err = source.Request(warmUpNumber); err != nil {
		return err
	}
	f.progress("sending a warm-up request")
	f.asking = "the warm-up request"
	for i, name := range names {
		if f.Protocol, err = api.ByName(name); err != nil {
			return err
		}
		f.Options = api.Options{
			Model: f.Model, Extra: f.target.ExtraBody, NoStream: f.target.NoStream,
			HoldOutputLength: f.options.Workload.HoldOutput, Temperature: f.options.Workload.Temperature,
		}
		if !api.Generates(f.Protocol) {
			f.Options.NoStream = true
		}
		notes := len(f.Notes)
		if err = f.tryProtocol(ctx); err == nil || !errors.Is(err, ErrAPI) || i == len(names)-1 {
			break
		}
		f.Notes = f.Notes[:notes]
	}
	if err != nil {
		if len(names) > 1 && errors.Is(err, ErrAPI) {
			base, _ := f.target.URL("")
			e := &Error{Kind: ErrAPI, Method: http.MethodPost, URL: publicURL(base),
				Text: "tried " + strings.Join(names, ", "), Advice: "check the path of base_url, or set api"}
			if last := (*Error)(nil); errors.As(err, &last) && last.Advice == webPageAdvice {
				e.Advice = webPageAdvice
			}
			return e
		}
		return err
	}
	if path := f.Protocol.Path(); !strings.HasPrefix(f.Protocol.Name(), "openai") && !strings.HasPrefix(path, "/v1/") {
		f.BaseURL = strings.TrimSuffix(f.BaseURL, "/v1") // its own API lies beside it
	}
	f.Target = f.target
	f.Target.API, f.Target.Model = f.Protocol.Name(), f.Model
	return nil
}

// tryProtocol sends the warm-up request and gives up refused parameters until it
// is answered.
func (f *finder) tryProtocol(ctx context.Context) error {
	for {
		a, err := f.askPatiently(ctx, f.warmUp)
		if err == nil {
			f.learn(a)
			return nil
		}
		e := (*Error)(nil)
		if !errors.As(err, &e) || e.Kind != ErrRefused {
			return err
		}
		if longer := f.options.Workload.OutputLen; e.Text == noOutput && longer > f.warmUp.OutputTokens {
			// A model may think in secret for longer than the warm-up lets it speak.
			f.warmUp.OutputTokens = longer
			continue
		}
		if e.Status != http.StatusBadRequest && e.Status != http.StatusUnprocessableEntity {
			return err
		}
		// Every adjustment is made once, so this ends.
		notes := adjust(&f.Options, e.Text)
		if len(notes) == 0 {
			return err
		}
		f.Notes = append(f.Notes, notes...)
	}
}

// Describe says in one line what was found.
func (f *Found) Describe() string {
	parts := []string{f.Protocol.Name() + " at " + f.BaseURL}
	if socket := f.Target.UnixSocket; socket != "" {
		parts[0] += " through " + socket
	}
	for _, part := range []string{f.Server, f.Model} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if f.ContextLength > 0 {
		parts = append(parts, fmt.Sprintf("context %d tokens", f.ContextLength))
	}
	if f.MetricsURL != "" {
		parts = append(parts, "telemetry at "+publicURL(f.MetricsURL))
	} else if f.Target.MetricsURL == "" {
		parts = append(parts, "no telemetry found")
	}
	return strings.Join(parts, ", ")
}
