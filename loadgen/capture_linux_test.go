package loadgen_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// BenchmarkCapture holds the time to the first token against a witness that is neither
// client nor server: the moments at which tcpdump saw the packets of the first tokens on
// the loopback interface. It prints the error's mean and 99th percentile, the same
// against the server's own stamps, and how many events a second came of those asked for;
// 10,000 streams of 30 tokens a second are more than two cores that the server is on,
// too, carry everywhere.
//
// It needs tcpdump, and the right to capture.
func BenchmarkCapture(b *testing.B) {
	for _, load := range []struct {
		streams int
		rate    float64
	}{{100, 50}, {1000, 50}, {10000, 5}, {10000, 30}} {
		b.Run(fmt.Sprintf("streams=%d/rate=%g", load.streams, load.rate), func(b *testing.B) {
			var seen, said []time.Duration
			var ours cost
			for b.Loop() {
				target := startNull(b, "http")
				stop := capture(b, target)
				run, used, late := drive(b, target, load.streams, load.rate)
				packets := stop()
				ours.add(used)
				said = append(said, late...)
				for i := range run.Samples {
					s := &run.Samples[i]
					if at, ok := packets[s.PromptIndex]; ok && s.Class == loadgen.Success {
						seen = append(seen, time.Duration(run.Started.Add(s.FirstOutput).UnixNano()-at))
					}
				}
			}
			if len(seen) == 0 {
				b.Fatal("not one first token was seen in the capture")
			}
			mean, p99 := spread(seen)
			b.ReportMetric(mean, "capture-mean-us")
			b.ReportMetric(p99, "capture-p99-us")
			mean, p99 = spread(said)
			b.ReportMetric(mean, "server-mean-us")
			b.ReportMetric(p99, "server-p99-us")
			b.ReportMetric(float64(len(seen)), "first-tokens")
			b.ReportMetric(ours.perEvent(), "us/event")
			b.ReportMetric(ours.events/ours.wall.Seconds(), "events/s")
			b.ReportMetric(float64(load.streams)*load.rate, "asked-events/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// capture has tcpdump note the packets that answers begin with; stop returns when each
// was seen, ns since 1970 by the number of the prompt.
func capture(b *testing.B, target loadgen.Target) (stop func() map[int]int64) {
	b.Helper()
	u, err := url.Parse(target.BaseURL)
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "first.pcap")
	const begins = "tcp[((tcp[12]&0xf0)>>2):4] = 0x48545450" // HTTP
	cmd := exec.Command("tcpdump", "-i", "lo", "-w", path, "-U", "-s", "800", "-B", "32768", "--time-stamp-precision=nano", "tcp src port "+u.Port()+" and "+begins)
	errs, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if errors.Is(err, exec.ErrNotFound) {
		skip(b, "tcpdump is not installed")
	} else if err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(errs)
	said := ""
	for lines.Scan() && !strings.Contains(lines.Text(), "listening on") {
		said += lines.Text() + "\n"
	}
	if lines.Text() == "" {
		_ = cmd.Wait()
		skip(b, fmt.Sprintf("tcpdump does not capture here: %s", said))
	}
	return func() map[int]int64 {
		time.Sleep(500 * time.Millisecond) // the last packets are on their way to it
		_ = cmd.Process.Signal(os.Interrupt)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "dropped") {
				b.Log(lines.Text())
			}
		}
		_ = cmd.Wait()
		raw, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		packets, err := readCapture(raw)
		if err != nil {
			b.Fatal(err)
		}
		return packets
	}
}

// readCapture reads a capture file with stamps in ns: a header of 24 bytes, then per
// packet seconds, nanoseconds, stored length, length, and the bytes.
func readCapture(raw []byte) (map[int]int64, error) {
	const nanoMagic, fileHeader, packetHeader = 0xa1b23c4d, 24, 16
	if len(raw) < fileHeader || binary.NativeEndian.Uint32(raw) != nanoMagic {
		return nil, errors.New("the capture is no file of tcpdump's with stamps in ns")
	}
	packets := map[int]int64{}
	for raw = raw[fileHeader:]; len(raw) >= packetHeader; {
		word := func(i int) uint32 { return binary.NativeEndian.Uint32(raw[4*i:]) }
		at := int64(word(0))*int64(time.Second) + int64(word(1))
		end := packetHeader + int(word(2))
		if end > len(raw) {
			return nil, io.ErrUnexpectedEOF
		}
		if _, after, ok := bytes.Cut(raw[packetHeader:end], []byte(`"truth":"`)); ok {
			number, _, _ := bytes.Cut(after, []byte("@"))
			if n, err := strconv.Atoi(string(number)); err == nil {
				packets[n] = at
			}
		}
		raw = raw[end:]
	}
	return packets, nil
}
