package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"time"
)

// endpoint is one exporter and how it has been doing.
type endpoint struct {
	what  string // for people: "server metrics"
	cure  string // what to do where there are none
	url   string
	shown string // without credentials

	body []byte // of the scrape under way
	err  error

	answered bool      // ever
	fails    int       // scrapes failed in a row
	since    time.Time // of the first of them
	next     time.Time // not asked before, while it fails
	told     bool      // that it fails
}

// awayAfter is how many failed scrapes in a row make an endpoint gone: one alone
// is a server too busy to answer in time.
const awayAfter = 2

// The longest pauses between the scrapes of a failing endpoint. One that never
// answered is probably not there, and a server's log should not be filled.
const (
	pauseNeverSeen = 30 * time.Second
	pauseAway      = 5 * time.Second
)

// away reports whether the endpoint answered once and no longer does.
func (e *endpoint) away() bool { return e.answered && e.fails >= awayAfter }

// due reports whether the endpoint is to be asked now. A scrape out of turn
// leaves out those that fail: they would only make it slow.
func (e *endpoint) due(now time.Time, extra bool) bool {
	if extra {
		return e.fails == 0
	}
	return !now.Before(e.next)
}

// settle takes note of the last answer and returns what a person should know.
func (e *endpoint) settle(at time.Time, interval time.Duration) string {
	if e.err == nil {
		text := ""
		if e.told {
			text = fmt.Sprintf("%s at %s answer again after %s", e.what, e.shown, at.Sub(e.since).Round(100*time.Millisecond))
			if !e.answered {
				text = fmt.Sprintf("%s at %s answer now", e.what, e.shown)
			}
		}
		e.answered, e.fails, e.told, e.next = true, 0, false, time.Time{}
		return text
	}
	if e.fails == 0 {
		e.since = at
	}
	e.fails++
	longest := pauseNeverSeen
	if e.answered {
		longest = pauseAway
	}
	// Doubling: one interval after the first failure, two after the second.
	e.next = at.Add(min(interval<<min(e.fails-1, 10), max(longest, interval)) - interval/2)
	if e.told || (e.answered && !e.away()) {
		return ""
	}
	e.told = true
	if e.answered {
		return fmt.Sprintf("%s at %s stopped answering (%v); going on without them", e.what, e.shown, e.err)
	}
	return fmt.Sprintf("no %s from %s: %v; going on without them (%s)", e.what, e.shown, e.err, e.cure)
}

// tally is the running total of one counter, evened out over restarts.
type tally struct {
	total float64            // NaN before the first answer
	last  map[string]float64 // by series
}

// add takes the values of the next answer. A value below the one before, by more
// than the given share of it that is noise, means that its process restarted from
// 0; a series that was not there before began at 0 too, except in the first
// answer, which only sets the base.
func (t *tally) add(series map[string]float64, noise float64) {
	if math.IsNaN(t.total) {
		t.total, t.last = 0, make(map[string]float64, len(series))
		for key, v := range series {
			t.last[key] = v
		}
		return
	}
	for key, v := range series {
		before := t.last[key]
		if v < before*(1-noise) {
			before = 0
		}
		t.total += v - before
		t.last[key] = v
	}
}

// checkURL returns the URL as it may be shown: without user, password and query.
func checkURL(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		// The error of url.Parse repeats the URL, password and all.
		return "", errors.New("want a full http:// or https:// URL, e.g. http://127.0.0.1:8000/metrics")
	}
	return shown(u), nil
}

func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// httpFetch returns a Fetch over HTTP, and what closes its idle connections.
func httpFetch(cfg Config) (Fetch, func()) {
	own := &http.Transport{Proxy: http.ProxyFromEnvironment}
	through := func(t http.RoundTripper) *http.Client {
		return &http.Client{
			Transport: t,
			// A redirect may lead to another host; the one that was given is asked or none.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	general, target := through(own), through(own)
	if cfg.Transport != nil {
		target = through(cfg.Transport)
	}
	fetch := func(ctx context.Context, address string) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, errors.New("the URL cannot be asked")
		}
		client := general
		if sameOrigin(address, cfg.BaseURL) {
			client = target
			if address == cfg.ServerURL {
				for name, values := range cfg.Header {
					req.Header[http.CanonicalHeaderKey(name)] = values
				}
			}
		}
		req.Header.Set("Accept", "text/plain;version=0.0.4,text/plain;q=0.5,*/*;q=0.1")
		resp, err := client.Do(req)
		if err != nil {
			return nil, plain(err, cfg.Timeout)
		}
		defer resp.Body.Close()
		if err := refuse(resp); err != nil {
			return nil, err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, cfg.MaxBody+1))
		if err != nil {
			return nil, plain(err, cfg.Timeout)
		}
		if int64(len(body)) > cfg.MaxBody {
			return nil, fmt.Errorf("the answer is larger than %d bytes", cfg.MaxBody)
		}
		return body, nil
	}
	return fetch, own.CloseIdleConnections
}

// refuse returns why an answer other than 200 is of no use.
func refuse(resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusOK:
		return nil
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		if to, err := resp.Location(); err == nil {
			return fmt.Errorf("HTTP %d redirects to %s, which is not followed", resp.StatusCode, shown(to))
		}
		return fmt.Errorf("HTTP %d redirects, which is not followed", resp.StatusCode)
	default:
		return fmt.Errorf("HTTP %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
}

// plain strips the URL, which may hold credentials, from an error of net/http.
func plain(err error, timeout time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", timeout)
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// sameOrigin reports whether two URLs have the same scheme and host.
func sameOrigin(a, b string) bool {
	ua, errA := url.Parse(a)
	ub, errB := url.Parse(b)
	return errA == nil && errB == nil && ua.Scheme == ub.Scheme && ua.Host == ub.Host
}
