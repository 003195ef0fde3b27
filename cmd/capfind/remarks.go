package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
	"github.com/capfind/capfind/sweep"
)

// droppable is a data set that leaves out prompts which are too long.
type droppable interface {
	Dropped() (n, of int, why string)
	DropLonger(ctx context.Context, tokens int, count prompt.Counter, why string) error
}

// remark adds to a result's warnings what its reader must know of the prompts and
// of how tokens were counted, and reports whether there was anything.
func (b *bench) remark(r *sweep.Result) bool {
	before := len(r.Warnings)
	all := append(tokenRemarks(r.Steps), heldBackRemark(r.Steps), tooLongRemark(r, b.file.Workload))
	if d, ok := b.source.(droppable); ok {
		all = append(all, droppedRemark(d))
	}
	for _, text := range all {
		if text != "" && !slices.Contains(r.Warnings, text) {
			r.Warnings = append(r.Warnings, text)
		}
	}
	return len(r.Warnings) > before
}

// tokenRemarks are the checks of the token counts that did not hold, each once, as
// the last step that it was about has them.
func tokenRemarks(steps []analysis.Step) []string {
	var out []string
	for _, name := range []string{"token_count", "chunk_tokens"} {
		for i := len(steps) - 1; i >= 0; i-- {
			s := &steps[i]
			at := slices.IndexFunc(s.Validity, func(c analysis.Check) bool { return c.Check == name && !c.OK })
			if at >= 0 {
				out = append(out, fmt.Sprintf("at %s: %s", loadOf(s), s.Validity[at].Text))
				break
			}
		}
	}
	return out
}

// heldBackRemark names the last step that held although a good part of its load was not
// there: workers whose request was refused wait before they send the next one. Empty
// where there is none.
func heldBackRemark(steps []analysis.Step) string {
	for i := len(steps) - 1; i >= 0; i-- {
		s := &steps[i]
		if n, short := s.Short(); short && s.Passed() && s.Whole.Failed > 0 {
			then := "so that fewer are refused than by clients that keep asking"
			if s.Failures[loadgen.HTTP429]+s.Failures[loadgen.HTTP5xx] == 0 {
				then = "so that the server had less to do than with clients that keep asking"
			}
			return fmt.Sprintf("at %s only %.1f were there on average: workers whose request failed wait before they send another, %s", loadOf(s), n, then)
		}
	}
	return ""
}

// loadOf names a step's load in a sentence.
func loadOf(s *analysis.Step) string {
	if rate, ok := s.RequestRate.Value(); ok {
		return fmt.Sprintf("%.4g req/s", rate)
	}
	if s.Concurrency == 1 {
		return "1 request in flight"
	}
	return fmt.Sprintf("%d requests in flight", s.Concurrency)
}

// tooLongRemark says how many requests the model's context was too short for, and
// what to do; empty where it was for none.
func tooLongRemark(r *sweep.Result, w prompt.Config) string {
	refused, sent, why := 0, 0, ""
	for i := range r.Steps {
		s := &r.Steps[i]
		n := s.Failures[loadgen.ContextOverflow]
		refused += n
		sent += s.Whole.Completed + s.Whole.Failed + n
		if n > 0 {
			why = s.FailureExamples[loadgen.ContextOverflow]
		}
	}
	switch {
	case refused == 0:
		return ""
	case w.Generated():
		return fmt.Sprintf("%d of %d prompts sent do not fit the model's context%s: they fail at any load and are in no rate; lower input_len or output_len", refused, sent, tokensOf(why))
	}
	return fmt.Sprintf("%d of %d prompts sent do not fit the model's context%s: they fail at any load and are in no rate; leave them out, counted, by --drop-too-long (workload.drop_too_long), or shorten them", refused, sent, tokensOf(why))
}

// droppedRemark says how many entries of a data set were left out as too long;
// empty where none was.
func droppedRemark(d droppable) string {
	n, of, why := d.Dropped()
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d of the data set's %d prompts do not fit the model's context%s and were left out", n, of, tokensOf(why))
}

// tokensOf is how long the context is, in a server's own words; empty where they
// do not say.
func tokensOf(why string) string {
	if n, _ := api.ContextOverflow(why); n > 0 {
		return fmt.Sprintf(" of %d tokens", n)
	}
	return ""
}

// nothingFits reports whether no request of a result was short enough for the
// model's context.
func nothingFits(r *sweep.Result) bool {
	tooLong := false
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.Whole.Completed+s.Whole.Failed > 0 {
			return false
		}
		tooLong = tooLong || s.Failures[loadgen.ContextOverflow] > 0
	}
	return tooLong
}
