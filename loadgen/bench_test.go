//go:build unix

package loadgen_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
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

// serveNull serves until standard input closes.
func serveNull() {
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

// startNull starts a null server process and returns its address.
func startNull(b *testing.B) (address string) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), nullServerEnv+"=1")
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
	address, err = lines.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		late, _ := lines.ReadString('\n')
		b.Logf("the null server was at most %s late", strings.TrimSpace(late))
		cmd.Wait()
	})
	return strings.TrimSpace(address)
}

// BenchmarkStream prints, for rising numbers of concurrent streams, what our
// client costs and how exact it is beside a bare Go reader that throws the bytes
// of the same streams away (the floor). Per streamed event: us and floor-us of
// CPU, ratio between them; ttft-mean-us and ttft-p99-us, the error of the time to
// the first token against the server's own stamps; B/stream, memory.
func BenchmarkStream(b *testing.B) {
	for _, load := range []struct {
		streams int
		rate    float64 // tokens per second and stream
	}{{50, 50}, {200, 50}, {500, 50}, {1000, 50}, {10000, 5}} {
		b.Run(fmt.Sprintf("streams=%d/rate=%g", load.streams, load.rate), func(b *testing.B) {
			address := startNull(b)
			var floor, ours cost
			var errors []time.Duration
			for b.Loop() {
				floor.add(bare(b, address, load.streams, load.rate))
				used, late := client(b, address, load.streams, load.rate)
				ours.add(used)
				errors = append(errors, late...)
			}
			b.ReportMetric(ours.perEvent(), "us/event")
			b.ReportMetric(floor.perEvent(), "floor-us/event")
			b.ReportMetric(ours.perEvent()/floor.perEvent(), "ratio")
			b.ReportMetric(float64(ours.memory)/float64(b.N), "B/stream")
			b.ReportMetric(float64(floor.memory)/float64(b.N), "floor-B/stream")
			b.ReportMetric(float64(ours.events)/ours.wall.Seconds(), "events/s")
			mean, p99 := spread(errors)
			b.ReportMetric(mean, "ttft-mean-us")
			b.ReportMetric(p99, "ttft-p99-us")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// cost is what receiving some events took.
type cost struct {
	cpu, wall time.Duration
	events    int
	memory    int // bytes per stream
}

func (c *cost) add(d cost) {
	c.cpu += d.cpu
	c.wall += d.wall
	c.events += d.events
	c.memory += d.memory
}

func (c *cost) perEvent() float64 { return c.cpu.Seconds() * 1e6 / float64(c.events) }

const (
	benchFor    = 4 * time.Second
	benchTokens = 100 // of a stream at 50 a second; in proportion at other rates
)

func tokens(rate float64) int { return max(int(benchTokens*rate/50), 5) }

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

// client runs our client for a while.
func client(b *testing.B, address string, streams int, rate float64) (cost, []time.Duration) {
	truth, err := selftest.NewTruth(tokens(rate), rate)
	if err != nil {
		b.Fatal(err)
	}
	target := loadgen.DefaultTarget()
	target.BaseURL = "http://" + address
	c, err := loadgen.NewClient(loadgen.ClientConfig{Target: target, Protocol: truth, Source: truth, Options: api.Options{Model: "null"}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	m := startMeter(streams)
	r, err := loadgen.NewEngine(c).Run(context.Background(), loadgen.Load{
		Concurrency: streams, Duration: benchFor, Start: loadgen.StartStagger, StaggerOver: time.Second,
	})
	if err != nil {
		b.Fatal(err)
	}
	events := 0
	for i := range r.Samples {
		if s := &r.Samples[i]; s.Class != loadgen.Success || s.OutputEvents != tokens(rate) {
			b.Errorf("request %d: %s (%s), %d events", s.Index, s.Class, s.Message, s.OutputEvents)
		}
		events += r.Samples[i].OutputEvents
	}
	return m.stop(events), truth.Errors(r)
}

// bare reads the same streams with as little as Go allows.
func bare(b *testing.B, address string, streams int, rate float64) cost {
	truth, err := selftest.NewTruth(tokens(rate), rate)
	if err != nil {
		b.Fatal(err)
	}
	m := startMeter(streams)
	began := time.Now()
	var done sync.WaitGroup
	var events atomic.Int64
	for i := range streams {
		done.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			r, _ := truth.Request(i)
			body, err := truth.Body(r, nil, api.Options{Model: "null"})
			if err != nil {
				b.Error(err)
				return
			}
			request := fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: null\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			time.Sleep(time.Second * time.Duration(i) / time.Duration(streams))
			buf := make([]byte, 4<<10)
			for time.Since(began) < benchFor {
				if _, err := conn.Write(request); err != nil {
					b.Error(err)
					return
				}
				for {
					n, err := conn.Read(buf)
					if err != nil {
						b.Error(err)
						return
					}
					if bytes.HasSuffix(buf[:n], []byte("0\r\n\r\n")) {
						break
					}
				}
				events.Add(int64(tokens(rate)))
			}
		})
	}
	done.Wait()
	return m.stop(int(events.Load()))
}

// meter measures what this process uses.
type meter struct {
	cpu     time.Duration
	began   time.Time
	streams int
	before  uint64
	peak    chan uint64
}

func startMeter(streams int) meter {
	runtime.GC()
	m := meter{began: time.Now(), streams: streams, before: inUse(), peak: make(chan uint64, 1)}
	time.AfterFunc(benchFor*3/4, func() { m.peak <- inUse() })
	m.cpu = cpu()
	return m
}

func (m meter) stop(events int) cost {
	used := cost{cpu: cpu() - m.cpu, wall: time.Since(m.began), events: events}
	if peak := <-m.peak; peak > m.before {
		used.memory = int(peak-m.before) / m.streams
	}
	return used
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
