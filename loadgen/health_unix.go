//go:build unix

package loadgen

import (
	"os"
	"syscall"
	"time"
)

// systemTime reads the system's clock past Go's, which a test may fake.
func systemTime() time.Time {
	var tv syscall.Timeval
	if syscall.Gettimeofday(&tv) != nil {
		return time.Time{}
	}
	return time.Unix(tv.Unix())
}

// cpuSeconds is the CPU time of this process, user and system.
func cpuSeconds() Number {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) != nil {
		return Number{}
	}
	return Known(float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e9)
}

// openFiles counts this process's file descriptors.
func openFiles() Number {
	dir, err := os.Open("/dev/fd")
	if err != nil {
		return Number{}
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return Number{}
	}
	return Known(float64(len(names) - 1)) // without dir itself
}

// openFilesLimit is the soft limit, which Go raises to the hard one at start.
func openFilesLimit() Number {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return Number{}
	}
	return Known(float64(limit.Cur))
}
