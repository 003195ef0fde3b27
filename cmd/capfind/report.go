package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/report"
	"github.com/capfind/capfind/sweep"
)

// metricsFile holds the server's own metrics over time, one scrape a line.
const metricsFile = "server_metrics.jsonl"

// writeReport writes everything that is derived from a result into its
// directory.
func (b *bench) writeReport(r *sweep.Result) error {
	if b.sim != nil {
		if l := b.sim.Lateness(); l.Events > 0 {
			r.Environment.SimulatorLate = seconds64(l.P99)
			if err := b.store.Save(r); err != nil {
				return err
			}
		}
	}
	return renderInto(b.store.Dir(), r, b.file.Report)
}

// renderInto renders a result into the directory that holds it.
func renderInto(dir string, r *sweep.Result, cfg config.Report) error {
	points, err := readTelemetry(filepath.Join(dir, metricsFile))
	if err != nil {
		return err
	}
	return report.WriteAll(dir, r, report.Options{
		Language: report.Language(cfg.Language), Title: cfg.Title, Telemetry: points,
	})
}

// readTelemetry reads the stored scrapes; a missing file holds none, and a line
// that was torn when a run was killed is left out.
func readTelemetry(path string) ([]analysis.TelemetryPoint, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var points []analysis.TelemetryPoint
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		var p analysis.TelemetryPoint
		if json.Unmarshal(line, &p) == nil {
			points = append(points, p)
		}
		if err != nil {
			return points, nil
		}
	}
}
