package loadgen

import (
	"syscall"
	"time"
)

// systemTime reads the system's clock past Go's, which a test may fake.
func systemTime() time.Time {
	var ft syscall.Filetime
	syscall.GetSystemTimeAsFileTime(&ft)
	return time.Unix(0, ft.Nanoseconds())
}

// cpuSeconds is the CPU time of this process, user and kernel.
func cpuSeconds() Number {
	self, err := syscall.GetCurrentProcess()
	if err != nil {
		return Number{}
	}
	var created, exited, kernel, user syscall.Filetime
	if syscall.GetProcessTimes(self, &created, &exited, &kernel, &user) != nil {
		return Number{}
	}
	ticks := func(f syscall.Filetime) float64 { return float64(uint64(f.HighDateTime)<<32 | uint64(f.LowDateTime)) }
	return Known((ticks(kernel) + ticks(user)) / 1e7) // of 100 ns
}

// Windows has no such limit on sockets and no cheap count of them.
func openFiles() Number      { return Number{} }
func openFilesLimit() Number { return Number{} }
