package machine

import (
	"golang.org/x/sys/unix"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// memoryOf is the memory of this machine in bytes.
func memoryOf() analysis.Number {
	bytes, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return analysis.Number{}
	}
	return loadgen.Known(float64(bytes))
}
