package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// scrape asks every endpoint that is due, all at once, and files the answers.
// extra asks those too that are not due but known to answer.
func (s *Scraper) scrape(ctx context.Context, extra bool) {
	s.ask(ctx, extra, s.server, s.gpu, s.node)
}

// glance is a scrape close to the one before. It leaves the host out: its CPU time
// is counted in hundredths of a second, and over a few of them no share of it
// means anything.
func (s *Scraper) glance(ctx context.Context) {
	s.ask(ctx, true, s.server, s.gpu)
}

func (s *Scraper) ask(ctx context.Context, extra bool, endpoints ...*endpoint) {
	began := time.Now()
	var asked []*endpoint
	for _, e := range endpoints {
		if e != nil && e.due(began, extra) {
			asked = append(asked, e)
		}
	}
	if len(asked) == 0 {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, e := range asked {
		wg.Go(func() { e.body, e.err = s.cfg.Fetch(bounded, e.url) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return // Run is over: the failures are ours, not the endpoints'
	}
	answered := time.Now()
	s.file(began, answered, asked)
}

// file turns the answers into a span and a point. What an answer says was true
// somewhere between question and answer: in the middle, for want of better.
func (s *Scraper) file(began, answered time.Time, asked []*endpoint) {
	at := began.Add(answered.Sub(began) / 2)
	now := span{from: at, to: at, lastAsked: began, lastAnswered: answered}
	for c := range now.first {
		now.first[c], now.last[c] = unknown, unknown
	}
	figures := map[gauge]float64{}
	var problems []string
	source := ""
	for _, e := range asked {
		if e.err == nil {
			switch e {
			case s.server:
				source, e.err = s.fileServer(e.body, figures, &now)
			case s.gpu:
				e.err = s.fileGPU(e.body, figures)
			case s.node:
				e.err = s.fileNode(e.body, figures, &now)
			}
		}
		e.body = nil
		if e.err != nil {
			problems = append(problems, e.what+": "+e.err.Error())
		} else {
			now.answered = 1
		}
		if text := e.settle(at, s.cfg.Interval); text != "" {
			s.cfg.Notice(text)
		}
	}
	now.away = s.server != nil && s.server.away()
	weight := s.weight(at)
	for g, v := range figures {
		now.gauges[g].add(v, weight)
	}
	s.mu.Lock()
	s.history.add(now)
	if source != "" && (s.source == "" || source != unrecognised) {
		s.source = source
	}
	s.mu.Unlock()
	s.store(point(at, figures, now.last[preemptions], problems))
}

// weight is for how many seconds the figures of a scrape stand: since the one
// before, or since the load began where that was later, but no longer than usual.
// Without it the close scrapes of a load's start would count as much as the
// seconds that follow.
func (s *Scraper) weight(at time.Time) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := s.history.latest()
	if s.begun.After(since) {
		since = s.begun
	}
	return max(time.Nanosecond, min(at.Sub(since), s.cfg.Interval)).Seconds()
}

// fileServer files the server's answer and returns its dialect.
func (s *Scraper) fileServer(body []byte, figures map[gauge]float64, now *span) (string, error) {
	r, err := readServer(body)
	if err != nil {
		return "", err
	}
	if r.source == unrecognised && len(r.gauges) == 0 {
		return "", errors.New("the answer holds no metric known here (wanted: names that begin with vllm:, sglang:, tgi_ or llamacpp:)")
	}
	for g, v := range r.gauges {
		figures[g] = v
	}
	// A process that is older than the one before: a load balancer deals the
	// scrapes out to several. Their counters have nothing to do with each other.
	if r.started < s.start && !s.mixed {
		s.mixed = true
		s.cfg.Notice(s.server.shown + " is answered by several processes in turn (a load balancer?): its counters are ignored; set target.metrics_url to one server")
	}
	s.start = r.started
	for c := range s.tally {
		series := r.counters[counter(c)]
		if s.mixed || len(series) == 0 {
			continue // unknown at this scrape
		}
		noise := 0.0
		if counter(c) == slotPasses {
			noise = slotNoise
		}
		s.tally[c].add(series, noise)
		now.first[c], now.last[c] = s.tally[c].total, s.tally[c].total
	}
	return r.source, nil
}

func (s *Scraper) fileGPU(body []byte, figures map[gauge]float64) error {
	r, err := readGPU(body)
	if err != nil {
		return err
	}
	if len(r.gauges) == 0 && len(r.xid) == 0 {
		return errors.New("the answer holds no metric known here (wanted: names that begin with DCGM_FI_DEV_)")
	}
	for g, v := range r.gauges {
		figures[g] = v
	}
	for gpu, code := range r.xid {
		if code != 0 && s.xid[gpu] != code {
			s.cfg.Notice(fmt.Sprintf("GPU %s reports XID error %g: the driver saw a fault, the figures from here on are suspect; see dmesg on the server", clip(gpu), code))
		}
		s.xid[gpu] = code
	}
	return nil
}

func (s *Scraper) fileNode(body []byte, figures map[gauge]float64, now *span) error {
	r, err := readNode(body)
	if err != nil {
		return err
	}
	if r.all == 0 && math.IsNaN(r.memory) {
		return errors.New("the answer holds no metric known here (wanted: " + nameNodeCPU + ")")
	}
	figures[hostCPU], figures[hostMemory] = r.cpuShare(s.cpu), r.memory
	now.hostSince = s.cpuAt
	s.cpu, s.cpuAt = r, now.to
	return nil
}

// point is the line of server_metrics.jsonl.
func point(at time.Time, figures map[gauge]float64, preempted float64, problems []string) analysis.TelemetryPoint {
	known := func(g gauge) analysis.Number {
		if v, ok := figures[g]; ok {
			return loadgen.Known(v)
		}
		return analysis.Number{}
	}
	slices.Sort(problems)
	return analysis.TelemetryPoint{
		At:            at.UTC(),
		Running:       known(running),
		Waiting:       known(waiting),
		KVCache:       known(kvCache),
		Preemptions:   loadgen.Known(preempted),
		GPUMemory:     known(gpuMemory),
		GPUUtil:       known(gpuUtil),
		GPUPower:      known(gpuPower),
		GPUMemoryBusy: known(gpuMemoryBusy),
		GPUBandwidth:  known(gpuBandwidth),
		GPUTensor:     known(gpuTensor),
		HostCPU:       known(hostCPU),
		HostMemory:    known(hostMemory),
		Resident:      known(resident),
		Error:         strings.Join(problems, "; "),
	}
}

// store writes a point. A full disk costs the file, not the sweep.
func (s *Scraper) store(p analysis.TelemetryPoint) {
	if s.points == nil {
		return
	}
	line, err := json.Marshal(p)
	if err == nil {
		_, err = s.points.Write(append(line, '\n'))
	}
	if err != nil {
		s.points = nil
		s.cfg.Notice("server metrics are no longer stored: " + err.Error() + "; they are still used")
	}
}
