// Package report renders a result: PNG charts for slides, one offline HTML page,
// Markdown, CSV and files in vLLM's format. It also reads vLLM's result files
// into a result, and puts results side by side. It never measures: every
// figure that it shows is taken from the result.
package report

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/store"
)

// Options say how a report is written.
type Options struct {
	Language     Language                  // en where empty
	Typeface     *Typeface                 // for pictures in Chinese; nil: they are in English
	Title        string                    // headline; empty: made from model and server
	Telemetry    []analysis.TelemetryPoint // server_metrics.jsonl, where there is one
	PricePerHour analysis.Number           // of one replica; adds the cost per million output tokens
	Currency     string                    // of the price, e.g. USD
}

func (o Options) currency() string {
	if o.Currency == "" {
		return "USD"
	}
	return o.Currency
}

// title is the headline of the page.
func (v *view) title(o Options) string {
	switch {
	case o.Title != "":
		return o.Title
	case v.r.Target.Model != "":
		return v.r.Target.Model
	case v.r.Name != "":
		return v.r.Name
	}
	return v.w.say("title")
}

// file is one file of the result directory before it is written.
type file struct {
	path   string // relative, with slashes
	render func(io.Writer) error
}

// WriteAll writes everything that is derived from a result into its directory:
// report.html, report.md, steps.csv, the pictures, and a pair of files in
// vLLM's format for every step. Each file is replaced as a whole. Files of an
// earlier report that this result no longer has stay.
func WriteAll(dir string, r *sweep.Result, o Options) error {
	files := []file{
		{"report.html", func(w io.Writer) error { return HTML(w, r, o) }},
		{"report.md", func(w io.Writer) error { return Markdown(w, r, o) }},
		{"steps.csv", func(w io.Writer) error { return CSV(w, r) }},
	}
	for _, s := range stepFiles(r) {
		files = append(files,
			file{s.base + ".json", func(w io.Writer) error {
				raw, err := VLLMStep(s.step, r)
				if err != nil {
					return err
				}
				_, err = w.Write(raw)
				return err
			}},
			file{s.base + ".log", func(w io.Writer) error { return VLLMLog(w, s.step, r) }})
	}
	pics, err := pictures(r, o)
	if err != nil {
		return err
	}
	for _, p := range pics {
		files = append(files, file{p.path, p.write})
	}
	// Drawing takes the processor and writing waits for the disk.
	return each(len(files), func(i int) error { return files[i].write(dir) })
}

// write renders the file in memory first, so that a failure leaves no part of it.
func (f file) write(dir string) error {
	var b bytes.Buffer
	if err := f.render(&b); err != nil {
		return fmt.Errorf("rendering %s: %w", f.path, err)
	}
	path := filepath.Join(dir, filepath.FromSlash(f.path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the directory of %s: %w", path, err)
	}
	return store.WriteFile(path, b.Bytes())
}
