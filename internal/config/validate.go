package config

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
	"github.com/capfind/capfind/sweep"
)

// Where returns the place that a key's value came from, as file:line or the
// flag's name; empty where it is a default.
func (f *File) Where(key string) string {
	p, ok := f.places[key]
	switch {
	case !ok:
		return ""
	case p.line > 0:
		return fmt.Sprintf("%s:%d", p.source, p.line)
	}
	return p.source
}

// Given reports whether the preset, the file, a flag or the environment gave the
// key. Where none did, that says something to whoever asks: YAML leaves the key out,
// so that a run that goes on with what was stored gets the same answer.
func (f *File) Given(key string) bool {
	_, ok := f.places[key]
	if !ok {
		if f.absent == nil {
			f.absent = map[string]bool{}
		}
		f.absent[key] = true
	}
	return ok
}

// problemAt is a problem with a key's value, placed where the value came from,
// or at the nearest section around it.
func (f *File) problemAt(key, format string, args ...any) Problem {
	p := Problem{Source: f.source, Key: key, Text: fmt.Sprintf(format, args...)}
	for k := key; k != ""; {
		if at, ok := f.places[k]; ok {
			p.Source, p.Line, p.Column = at.source, at.line, at.column
			break
		}
		dot := strings.LastIndexByte(k, '.')
		k = k[:max(dot, 0)]
	}
	return p
}

// Problem returns an error about a key's value, placed where it came from: for
// what only a command can know, such as a model that the server does not have.
func (f *File) Problem(key, format string, args ...any) error {
	return Problems{f.problemAt(key, format, args...)}
}

// checker collects what is impossible in a configuration.
type checker struct {
	f        *File
	problems Problems
}

// fail keeps the first thing that is wrong with a key.
func (c *checker) fail(key, format string, args ...any) {
	if slices.ContainsFunc(c.problems, func(p Problem) bool { return p.Key == key }) {
		return
	}
	c.problems = append(c.problems, c.f.problemAt(key, format, args...))
}

func (c *checker) failIf(bad bool, key, format string, args ...any) {
	if bad {
		c.fail(key, format, args...)
	}
}

func (c *checker) atLeast(key string, value, least int) {
	c.failIf(value < least, key, "must be at least %d, not %d", least, value)
}

func (c *checker) oneOf(key, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	if near := Closest(value, allowed); near != "" {
		c.fail(key, "%q is not known; did you mean %s?", value, near)
		return
	}
	c.fail(key, "%q is not known; it can be %s", value, strings.Join(allowed, ", "))
}

// validate finds every impossible value.
func (f *File) validate(lookup func(string) (string, bool)) Problems {
	c := &checker{f: f}
	c.everyKey()
	c.target(lookup)
	c.workload()
	c.batch()
	c.load()
	c.section("replay", f.Replay.Validate())
	c.section("sweep", f.Sweep.Validate())
	c.section("stop", f.Stop.Validate())
	c.failIf(f.Stop.MinGoodput > 0 && f.Load.Goodput.Asked() == nil, "stop.min_goodput",
		"nothing says which requests are good: give load.goodput, e.g. ttft: 2s (or --goodput ttft:2s)")
	c.section("recommend", sweep.ValidateBand(f.Recommend))
	c.rest()
	c.fleet()
	return c.problems
}

// everyKey refuses what is wrong for any key: a word that is not among its
// choices, negative numbers, and infinities but where they have a meaning.
func (c *checker) everyKey() {
	walkKeys(reflect.ValueOf(c.f).Elem(), "", func(path string, _ field, v reflect.Value) {
		if strings.HasPrefix(path, "target.simulator.") {
			return // the simulator checks its own
		}
		if v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		switch v.Kind() {
		case reflect.String:
			if words := choices[path]; words != nil && (path != "preset" || v.String() != "") {
				c.oneOf(path, v.String(), words...)
			}
		case reflect.Int, reflect.Int64:
			c.failIf(v.Int() < 0, path, "must not be negative, but is %v", plain(v))
		case reflect.Float64:
			c.failIf(v.Float() < 0, path, "must not be negative, but is %v", v.Float())
			c.failIf(math.IsInf(v.Float(), 1) && !mayBeInfinite[path], path, "must be a finite number")
		}
	})
}

// choices are the words that a key can be.
var choices = map[string][]string{
	"preset":              Presets,
	"target.api":          append([]string{"auto"}, api.Names()...),
	"workload.dataset":    prompt.Datasets(),
	"sweep.start":         {"stagger", "burst"},
	"stop.ttft_statistic": statistics,
	"replay.speedup":      {string(sweep.Closer), string(sweep.MoreSessions)},
	"report.language":     {"en", "zh"},
	"fleet.shares":        {EvenShares, MeasuredShares},
}

var statistics = []string{"mean", "p50", "p90", "p95", "p99"}

// mayBeInfinite are the numbers for which inf has a meaning.
var mayBeInfinite = map[string]bool{"load.request_rate": true, "load.burstiness": true}

func (c *checker) target(lookup func(string) (string, bool)) {
	t := &c.f.Target
	if t.Simulator != nil {
		c.simulator(t)
	}
	c.failIf(t.BaseURL == "" && t.Simulator == nil, "target.base_url",
		"missing: give the server's URL, e.g. http://127.0.0.1:8000/v1 (or --base-url, or OPENAI_BASE_URL)")
	c.url("target.base_url", t.BaseURL)
	c.url("target.gpu_metrics_url", t.GPUMetricsURL)
	c.url("target.node_metrics_url", t.NodeMetricsURL)
	if t.MetricsURL != "off" {
		c.url("target.metrics_url", t.MetricsURL)
	}
	if t.APIKeyEnv != "" {
		key, _ := lookup(t.APIKeyEnv)
		c.failIf(key == "", "target.api_key_env", "the environment variable %s is not set", t.APIKeyEnv)
	}
	c.failIf(t.APIKeyEnv != "" && t.APIKeyFile != "", "target.api_key_file", "give either this or api_key_env")
	c.failIf((t.ClientCert == "") != (t.ClientKey == ""), "target.client_cert", "client_cert and client_key belong together; one is missing")
	for key, path := range map[string]string{
		"target.api_key_file": t.APIKeyFile, "target.ca_file": t.CAFile,
		"target.client_cert": t.ClientCert, "target.client_key": t.ClientKey, "report.font": c.f.Report.Font,
	} {
		c.readable(key, path)
	}
	for name := range t.Headers {
		c.failIf(name == "" || strings.ContainsAny(name, " :\r\n\t"), "target.headers."+name, "is no valid header name")
	}
}

func (c *checker) readable(key, path string) {
	if path == "" {
		return
	}
	file, err := os.Open(path)
	if err != nil {
		c.fail(key, "%s cannot be read: %v", path, cause(err))
		return
	}
	file.Close()
}

// simulator checks the simulated server that takes the place of a real one.
func (c *checker) simulator(t *Target) {
	c.failIf(t.BaseURL != "", "target.base_url", "give either this or target.simulator, not both")
	for _, p := range t.Simulator.Validate() {
		c.fail("target.simulator."+p.Key, "%s", p.Message)
	}
}

// cause is the system's own words, without the path that the message names
// anyway.
func cause(err error) error {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err
	}
	return err
}

// url accepts http and https URLs; the value may hold a password, so that
// messages show it without.
func (c *checker) url(key, raw string) {
	if raw == "" {
		return
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil && strings.Contains(raw, "://"):
		c.fail(key, "is no URL; a %% in it must be written as %%25 unless it starts an escape such as %%20")
	case err != nil || u.Scheme != "http" && u.Scheme != "https":
		c.fail(key, "needs http:// or https:// in front, as in http://127.0.0.1:8000/v1")
	case u.Host == "":
		c.fail(key, "names no host; write it as in http://127.0.0.1:8000/v1")
	case u.Port() != "":
		if n, err := strconv.Atoi(u.Port()); err != nil || n < 1 || n > 65535 {
			c.fail(key, "has port %s, but ports are 1 to 65535", u.Port())
		}
	}
}

func (c *checker) workload() {
	for _, p := range c.f.Workload.Validate() {
		c.fail("workload."+p.Key, "%s", p.Text)
	}
}

func (c *checker) load() {
	l := &c.f.Load
	c.atLeast("load.max_concurrency", l.MaxConcurrency, 1)
	c.failIf(l.MaxConcurrency > maxConcurrency, "load.max_concurrency", "must be at most %d", maxConcurrency)
	c.failIf(l.RequestRate == 0, "load.request_rate", "must be above 0, or inf for no pacing")
	c.failIf(l.Burstiness == 0, "load.burstiness", "must be above 0; 1 is Poisson")
	c.failIf(l.NumPrompts == 0 && l.Duration == 0, "load.num_prompts", "must be at least 1 where no duration is given")
	c.failIf(l.ConcurrencyFactor == 0, "load.concurrency_factor", "must be above 0")
	c.failIf(l.RateFactor == 0, "load.rate_factor", "must be above 0")
	previous := 0.0
	for i, rate := range l.Rates {
		key := fmt.Sprintf("load.rates[%d]", i)
		c.failIf(!(rate > previous) || math.IsInf(rate, 0), key, "the rates must be finite, above 0 and rise, but %v follows %v", rate, previous)
		previous = rate
	}
}

// section takes over what the package that owns a section finds wrong with it.
func (c *checker) section(name string, found []sweep.Problem) {
	for _, p := range found {
		c.fail(name+"."+p.Key, "%s", p.Text)
	}
}

// Bounds of the pause between two readings of a server's metrics: an exporter
// is not a stream, and a step must be seen more than once.
const (
	leastInterval = 100 * time.Millisecond
	mostInterval  = time.Minute
)

func (c *checker) rest() {
	pause := c.f.Telemetry.Interval
	c.failIf(pause < leastInterval || pause > mostInterval, "telemetry.interval",
		"must be from %s to %s, not %s; target.metrics_url: off reads no metrics",
		formatDuration(leastInterval), formatDuration(mostInterval), formatDuration(pause))
	c.address("web.listen", c.f.Web.Listen)
	c.failIf(c.f.Output.Dir == "", "output.dir", "must name a folder")
	c.failIf(strings.ContainsAny(c.f.Output.Name, `/\`) || c.f.Output.Name == ".." || c.f.Output.Name == ".", "output.name", "must be a plain name without slashes")
}

func (c *checker) fleet() {
	f := &c.f.Fleet
	c.atLeast("fleet.workers", f.Workers, 0)
	c.failIf(f.LocalWorkers && f.Workers == 0, "fleet.workers", "must say how many local workers are to be started")
	c.failIf(f.LocalWorkers && f.NATSURL != "", "fleet.nats_url", "is for workers on other machines; leave out local_workers")
	c.failIf(f.JoinTimeout <= 0, "fleet.join_timeout", "must be above 0, as in 2m")
	_, _, err := net.SplitHostPort(f.Listen)
	c.failIf(err != nil, "fleet.listen", "must be an address and a port, as in :4222 or 10.0.0.5:4222, not %q", f.Listen)
	c.failIf(!fleetName.MatchString(f.Name), "fleet.name", "must be of letters, digits, - and _, 64 at most, not %q", f.Name)
}

// fleetName is what a fleet may be called: it is a part of NATS subjects.
var fleetName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// address accepts what a server can listen on.
func (c *checker) address(key, at string) {
	if at == "" {
		return
	}
	_, port, err := net.SplitHostPort(at)
	n, wrong := strconv.Atoi(port)
	c.failIf(err != nil || wrong != nil || n < 0 || n > 65535, key, "%q is no address: write HOST:PORT, e.g. 127.0.0.1:0 for any free port of this machine", at)
}

// Choices returns the words that a key can be, nil where it is free.
func Choices(key string) []string { return choices[key] }

// batch refuses several texts in a request of a protocol that takes one.
func (c *checker) batch() {
	p, err := api.ByName(c.f.Target.API)
	turns := c.f.Workload.Dataset == prompt.Conversation || c.f.Workload.Turns > 1
	c.failIf(turns && err == nil && !api.Generates(p), "workload.turns", "%s answers with no text, so that there is no conversation: use another data set", c.f.Target.API)
	c.failIf(c.f.Workload.Batch > 1 && (err != nil || api.Generates(p)), "workload.batch",
		"%d texts in a request: set target.api to openai-embeddings, rerank or tei-rerank, or remove it", c.f.Workload.Batch)
}
