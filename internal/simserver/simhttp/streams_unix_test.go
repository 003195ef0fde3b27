//go:build unix

package simhttp_test

import (
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/internal/simserver/simhttp"
)

// BenchmarkStreams holds 1,000 streams of 50 tokens/s open for 8 s with a reader
// that only counts bytes, and reports how late the server wrote and the CPU time
// of both per event.
func BenchmarkStreams(b *testing.B) {
	for _, n := range []int{50, 200, 500, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				streams(b, n, 300)
			}
		})
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func streams(b *testing.B, n, tokens int) {
	c := simserver.Default()
	c.Slots, c.Prefill = 0, 500*time.Millisecond
	s, err := simhttp.Start(c)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	body := fmt.Sprintf(`{"model":"simulated-model","messages":[{"role":"user","content":"hi"}],"max_tokens":%d,"stream":true}`, tokens)
	request := fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	before := cpu()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Second / time.Duration(n))
			conn, err := net.Dial("tcp", s.URL()[len("http://"):])
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			_, _ = conn.Write([]byte(request))
			buf := make([]byte, 4096)
			for {
				if _, err := conn.Read(buf); err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	l := s.Lateness()
	b.ReportMetric(float64(l.Mean.Microseconds()), "late-mean-us")
	b.ReportMetric(float64(l.P50.Microseconds()), "late-p50-us")
	b.ReportMetric(float64(l.P99.Microseconds()), "late-p99-us")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(l.Events), "cpu-us/event")
}
