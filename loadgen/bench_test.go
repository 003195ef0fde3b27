//go:build unix

package loadgen_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/selftest"
)

// nullServerEnv makes the test binary a null server: in a process of its own, so
// that the client's share of the CPU is plain to see and each has its own file
// descriptors.
const nullServerEnv = "CAPFIND_TEST_NULL_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(nullServerEnv) != "" {
		serveNull()
		return
	}
	goleak.VerifyTestMain(m)
}

// serveNull serves until standard input closes: in the clear by the null server,
// else by net/http.
func serveNull() {
	if os.Getenv(nullServerEnv) == "https" {
		h := &selftest.Handler{}
		s := httptest.NewUnstartedServer(h)
		s.EnableHTTP2 = true
		s.StartTLS()
		fmt.Println(s.Listener.Addr())
		io.Copy(io.Discard, os.Stdin)
		s.CloseClientConnections()
		s.Close()
		fmt.Println(h.Late())
		return
	}
	s, err := selftest.StartNull()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.Address())
	io.Copy(io.Discard, os.Stdin)
	s.Close()
	fmt.Println(s.Late())
}

// startNull starts a null server process and returns its target.
func startNull(b *testing.B, wire string) loadgen.Target {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	target := loadgen.DefaultTarget()
	scheme := "http"
	if wire != "http" {
		scheme, target.InsecureSkipVerify, target.HTTP2 = "https", true, wire == "http2"
	}
	cmd.Env = append(os.Environ(), nullServerEnv+"="+scheme)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewReader(out)
	address, err := lines.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		late, _ := lines.ReadString('\n')
		b.Logf("the null server was at most %s late", strings.TrimSpace(late))
		cmd.Wait()
	})
	target.BaseURL = scheme + "://" + strings.TrimSpace(address)
	return target
}

// BenchmarkStream prints, for rising numbers of concurrent streams, what our
// client costs and how exact it is, beside a bare Go reader that throws the bytes
// of the same streams away (the floor). Per streamed event: us and floor-us of
// CPU, and the ratio between them; ttft-mean-us and ttft-p99-us, the error of the
// time to the first token against the server's own stamps; B/stream, memory for
// objects (dead ones not yet collected included) and stacks.
//
// They count from when all streams run; start-us is the CPU a stream before that.
//
// Wanted: a ratio of at most 1, errors of at most 1 ms mean and 5 ms p99, at most 20 kB
// a stream from thousands on. docs/method.md has figures and says what was tried. The
// floor comes before the client, so that neighbours on the machine move the ratio by
// tenths: more passes (-benchtime) help.
//
// What else was tried, and what it gave at 1,000 streams:
//
//   - net/http's transport instead of connections of our own: ratio 1.2 to 1.4,
//     55 to 58 kB a stream for its two goroutines and buffers, and a TTFT error of
//     5.7 ms mean and 40 ms p99, since only the moment after the read is known.
//   - Our connections without the kernel's receive stamps: 1.0 ms mean and 8.6 ms
//     p99. With them what is left is the way through loopback.
//   - One timer a request for all time-outs, where each event only stores a
//     number: time-outs are absent from the profile. Decoding is less than a tenth.
//
// When the machine is so busy that a reader comes later than the server's next
// token, the kernel may have joined both packets under the later stamp; the error
// is then one gap, and the dispatch delay tells of it.
func BenchmarkStream(b *testing.B) {
	for _, load := range []struct {
		wire    string
		streams int
		rate    float64 // tokens per second and stream
	}{{"http", 50, 50}, {"http", 1000, 50}, {"http", 10000, 5}, {"https", 50, 50}, {"https", 1000, 20}, {"http2", 50, 50}, {"http2", 1000, 20}} {
		b.Run(fmt.Sprintf("%s/streams=%d/rate=%g", load.wire, load.streams, load.rate), func(b *testing.B) {
			target := startNull(b, load.wire)
			var floor, ours cost
			var errors []time.Duration
			for b.Loop() {
				floor.add(bare(b, target, load.streams, load.rate))
				_, used, late := drive(b, target, load.streams, load.rate)
				ours.add(used)
				errors = append(errors, late...)
			}
			b.ReportMetric(ours.perEvent(), "us/event")
			b.ReportMetric(floor.perEvent(), "floor-us/event")
			b.ReportMetric(ours.perEvent()/floor.perEvent(), "ratio")
			b.ReportMetric(float64(ours.memory)/float64(b.N), "B/stream")
			b.ReportMetric(float64(floor.memory)/float64(b.N), "floor-B/stream")
			b.ReportMetric(ours.start.Seconds()*1e6/float64(b.N), "start-us/stream")
			b.ReportMetric(floor.start.Seconds()*1e6/float64(b.N), "floor-start-us/stream")
			b.ReportMetric(ours.events/ours.wall.Seconds(), "events/s")
			mean, p99 := spread(errors)
			b.ReportMetric(mean, "ttft-mean-us")
			b.ReportMetric(p99, "ttft-p99-us")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// skip leaves a benchmark out and says so, which go test by itself does not.
func skip(b *testing.B, why string) {
	b.Helper()
	fmt.Fprintf(os.Stderr, "%s is left out: %s\n", b.Name(), why)
	b.SkipNow()
}

// cost is what receiving some events took, while all streams ran.
type cost struct {
	cpu, wall time.Duration
	events    float64
	memory    int           // bytes per stream
	start     time.Duration // CPU before, per stream: connecting, the first requests
}

func (c *cost) add(d cost) {
	c.cpu += d.cpu
	c.wall += d.wall
	c.events += d.events
	c.memory += d.memory
	c.start += d.start
}

func (c *cost) perEvent() float64 { return c.cpu.Seconds() * 1e6 / c.events }

const benchTokens = 100 // of a stream at 50 a second; in proportion at other rates

// times are the moments of a run: streams start over ramp; from when they all run, a
// little later, until no more requests are sent, it is measured.
type times struct{ ramp, from, to time.Duration }

func timesOf(streams int) times {
	ramp := max(time.Second, time.Duration(streams)*300*time.Microsecond) // what a request costs must not be all there is
	return times{ramp, ramp + time.Second/2, ramp + 4*time.Second}
}

func tokens(rate float64) int { return max(int(benchTokens*rate/50), 25) }

// spread returns the mean and the 99th percentile in microseconds.
func spread(all []time.Duration) (mean, p99 float64) {
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	return sum.Seconds() * 1e6 / float64(len(all)), all[(len(all)-1)*99/100].Seconds() * 1e6
}

// drive runs our client for a while.
func drive(b *testing.B, target loadgen.Target, streams int, rate float64) (loadgen.Run, cost, []time.Duration) {
	truth, err := selftest.NewTruth(tokens(rate), rate)
	if err != nil {
		b.Fatal(err)
	}
	c, err := loadgen.NewClient(loadgen.ClientConfig{Target: target, Protocol: truth, Source: truth, Options: api.Options{Model: "null"}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	m := startMeter(streams)
	r, err := loadgen.NewEngine(c).Run(context.Background(), loadgen.Load{
		Concurrency: streams, Duration: m.to, Start: loadgen.StartStagger, StaggerOver: m.ramp,
	})
	if err != nil {
		b.Fatal(err)
	}
	events := 0
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.Class != loadgen.Success || s.OutputEvents != tokens(rate) {
			b.Errorf("request %d: %s (%s), %d events", s.Index, s.Class, s.Message, s.OutputEvents)
			continue
		}
		at := s.FirstOutput
		for k := 0; ; k++ {
			if at >= m.from && at < m.to {
				events++
			}
			if k == len(s.Gaps) {
				break
			}
			at += time.Duration(s.Gaps[k]) * time.Microsecond
		}
	}
	return r, m.stop(r.Started, float64(events)), truth.Errors(r)
}

// sender sends one request after the other on its own stream and returns what the
// answer is read from.
type sender func(body []byte) (io.ReadCloser, error)

// rawSenders are connections that are used as they are.
func rawSenders(b *testing.B, target loadgen.Target, n int) (senders []sender, done func()) {
	senders = make([]sender, n)
	conns := make([]net.Conn, n)
	for i := range senders {
		scheme, address, _ := strings.Cut(target.BaseURL, "://")
		conn, err := net.Dial("tcp", address)
		if err == nil && scheme == "https" {
			secured := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			conn, err = secured, secured.Handshake()
		}
		if err != nil {
			b.Fatal(err)
		}
		conns[i] = conn
		senders[i] = func(body []byte) (io.ReadCloser, error) {
			_, err := conn.Write(fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: null\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
			return io.NopCloser(conn), err
		}
	}
	return senders, func() {
		for _, c := range conns {
			c.Close()
		}
	}
}

// http2Senders are streams of net/http.
func http2Senders(b *testing.B, target loadgen.Target, n int) (senders []sender, done func()) {
	transport, err := loadgen.NewTransport(target)
	if err != nil {
		b.Fatal(err)
	}
	return slices.Repeat([]sender{func(body []byte) (io.ReadCloser, error) {
		r, err := http.NewRequest(http.MethodPost, target.BaseURL+"/v1/chat/completions", bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		return resp.Body, nil
	}}, n), transport.CloseIdleConnections
}

// bare reads the same streams with as little as Go allows.
func bare(b *testing.B, target loadgen.Target, streams int, rate float64) cost {
	truth, err := selftest.NewTruth(tokens(rate), rate)
	if err != nil {
		b.Fatal(err)
	}
	m := startMeter(streams)
	open := rawSenders
	if target.HTTP2 {
		open = http2Senders
	}
	senders, hangUp := open(b, target, streams)
	defer hangUp()
	began := time.Now()
	var done sync.WaitGroup
	var inWindow, inAll, requests atomic.Int64 // bytes, bytes, and what they were for
	for i, send := range senders {
		done.Go(func() {
			r, _ := truth.Request(i)
			body, err := truth.AppendBody(nil, r, nil, api.Options{Model: "null"})
			if err != nil {
				b.Error(err)
				return
			}
			time.Sleep(m.ramp * time.Duration(i) / time.Duration(streams))
			buf := make([]byte, 4<<10)
			window, all := 0, 0
			for time.Since(began) < m.to {
				answer, err := send(body)
				for n := 0; err == nil && !bytes.HasSuffix(buf[:n], []byte("0\r\n\r\n")); {
					n, err = answer.Read(buf)
					all += n
					if at := time.Since(began); at >= m.from && at < m.to {
						window += n
					}
				}
				if err != nil && err != io.EOF || answer.Close() != nil {
					b.Error(err)
					return
				}
				requests.Add(1)
			}
			inWindow.Add(int64(window))
			inAll.Add(int64(all))
		})
	}
	done.Wait()
	perEvent := float64(inAll.Load()) / float64(requests.Load()) / float64(tokens(rate))
	return m.stop(began, float64(inWindow.Load())/perEvent)
}

// meter measures what this process uses.
type meter struct {
	times
	streams int
	before  uint64
	seen    []reading
	quit    chan struct{}
	done    sync.WaitGroup
}

// reading is what had been used at a moment.
type reading struct {
	at     time.Time
	cpu    time.Duration
	memory uint64
}

func startMeter(streams int) *meter {
	runtime.GC()
	m := &meter{times: timesOf(streams), streams: streams, before: inUse(), quit: make(chan struct{})}
	m.seen = append(m.seen, reading{at: time.Now(), cpu: cpu()})
	m.done.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case at := <-tick.C:
				m.seen = append(m.seen, reading{at: at, cpu: cpu()})
				if len(m.seen)%20 == 0 { // reading it stops the world
					m.seen[len(m.seen)-1].memory = inUse()
				}
			case <-m.quit:
				return
			}
		}
	})
	return m
}

// stop returns what the events of a run that began at a moment took, while all
// streams ran.
func (m *meter) stop(began time.Time, events float64) cost {
	close(m.quit)
	m.done.Wait()
	from, to := m.seen[0], m.seen[len(m.seen)-1]
	peak := m.before
	for _, r := range m.seen {
		if at := r.at.Sub(began); at <= m.from {
			from = r
		} else if at <= m.to {
			to = r
			peak = max(peak, r.memory)
		}
	}
	wall := to.at.Sub(from.at)
	return cost{
		cpu: to.cpu - from.cpu, wall: wall, events: events * wall.Seconds() / (m.to - m.from).Seconds(),
		memory: int(peak-m.before) / m.streams, start: (from.cpu - m.seen[0].cpu) / time.Duration(m.streams),
	}
}

// inUse is the memory held for objects, dead ones not yet collected included, and
// for stacks.
func inUse() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func cpu() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
