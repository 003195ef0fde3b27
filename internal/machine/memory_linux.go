package machine

import (
	"golang.org/x/sys/unix"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// memoryOf is the memory of this machine in bytes.
func memoryOf() analysis.Number {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return analysis.Number{}
	}
	return loadgen.Known(float64(info.Totalram) * float64(info.Unit))
}
