package loadgen

import (
	"fmt"
	"net"
	"testing"
	"testing/fstest"
	"time"
)

func TestCgroupQuota(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for _, test := range []struct {
		name string
		fs   fstest.MapFS
		want float64
	}{
		{"nothing known", fstest.MapFS{}, noQuota},
		{"version 2", fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/b/cpu.max": file("150000 100000\n")}, 1.5},
		{"version 2, no quota", fstest.MapFS{"proc/self/cgroup": file("0::/a\n"), "sys/fs/cgroup/a/cpu.max": file("max 100000\n")}, noQuota},
		{"version 2, a parent's", fstest.MapFS{
			"proc/self/cgroup":            file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/cpu.max":   file("400000 100000\n"),
			"sys/fs/cgroup/a/cpu.max":     file("200000 100000\n"),
			"sys/fs/cgroup/other/cpu.max": file("100 100000\n"),
		}, 2},
		{"version 2, a container that sees its own root", fstest.MapFS{"proc/self/cgroup": file("0::/docker/abc\n"), "sys/fs/cgroup/cpu.max": file("50000 100000\n")}, 0.5},
		{"version 1", fstest.MapFS{
			"proc/self/cgroup": file("5:memory:/x\n4:cpu,cpuacct:/x\n"),
			"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us":  file("300000\n"),
			"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": file("100000\n"),
		}, 3},
		{"version 1, no quota", fstest.MapFS{
			"proc/self/cgroup":                    file("1:cpu:/\n"),
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":  file("-1\n"),
			"sys/fs/cgroup/cpu/cpu.cfs_period_us": file("100000\n"),
		}, noQuota},
		{"cpuset is not cpu", fstest.MapFS{
			"proc/self/cgroup":                       file("1:cpuset:/\n"),
			"sys/fs/cgroup/cpuset/cpu.cfs_quota_us":  file("1000\n"),
			"sys/fs/cgroup/cpuset/cpu.cfs_period_us": file("100000\n"),
		}, noQuota},
	} {
		if got := cgroupQuota(test.fs); got != test.want {
			t.Errorf("%s: %v CPUs, want %v", test.name, got, test.want)
		}
	}
}

// What is read from this machine is there and plausible.
func TestMachineFigures(t *testing.T) {
	for name, n := range map[string]Number{
		"resident": residentBytes(), "ports": ephemeralPorts(), "files": openFiles(), "limit": openFilesLimit(), "cpu": cpuSeconds(),
	} {
		if v, ok := n.Value(); !ok || v <= 0 {
			t.Errorf("%s: %v", name, n)
		}
	}
	before := openFiles().Or(0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := openFiles().Or(0); got < before+1 {
		t.Errorf("%v files open with one more than %v", got, before)
	}
	if quota := cpuQuota(); quota <= 0 || quota > 4096 {
		t.Errorf("%v CPUs", quota)
	}
}

// A reader that comes late reports when the data arrived, not when it came.
func TestKernelStampsAreBeforeALateRead(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c := newStampConn(raw)
	const late = 200 * time.Millisecond
	for try := range 3 { // the kernel begins to stamp a moment after it is asked to
		start := time.Now()
		fmt.Fprint(server, "hello")
		wrote := time.Since(start)
		time.Sleep(late)
		buf := make([]byte, 10)
		if n, err := c.Read(buf); err != nil || string(buf[:n]) != "hello" {
			t.Fatalf("read %q, %v", buf[:n], err)
		}
		got := c.arrival(start, 0)
		if got.source != StampKernel {
			if try == 2 {
				t.Skip("no kernel stamps on this machine")
			}
			continue
		}
		// Loopback delivers within the write.
		if got.at > wrote+50*time.Microsecond || got.delay < late-time.Millisecond {
			t.Errorf("arrival %v after %v of writing, delay %v", got.at, wrote, got.delay)
		}
		return
	}
}
