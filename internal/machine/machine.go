// Package machine says what a measurement was made on.
package machine

import (
	"runtime"
	"slices"
	"strings"

	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// Describe describes the machine that makes the load, and the command line that it
// was asked with, what may be secret hidden.
func Describe(args []string, simulated bool) sweep.Environment {
	return sweep.Environment{
		OS: runtime.GOOS, Arch: runtime.GOARCH, GoVersion: runtime.Version(),
		// The runtime takes its number of processors from the cgroup's quota.
		CPUs:         loadgen.Known(float64(runtime.GOMAXPROCS(0))),
		CommandLine:  redactedArgs(args),
		MemoryBytes:  memoryOf(),
		InsideTarget: simulated,
	}
}

// hidingFlags are the flags whose values may hold secrets.
var hidingFlags = []string{"header", "extra-body", "simulator"}

// redactedArgs is the command line with what may be secret hidden: headers,
// bodies, and the credentials in URLs.
func redactedArgs(args []string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		name, value, inline := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		isFlag := strings.HasPrefix(arg, "-")
		switch {
		case isFlag && inline:
			out[i] = arg[:len(arg)-len(value)] + redactedValue(name, value)
		case i > 0 && strings.HasPrefix(out[i-1], "-") && !strings.Contains(out[i-1], "="):
			out[i] = redactedValue(strings.TrimLeft(out[i-1], "-"), arg)
		default:
			out[i] = redactedValue("", arg)
		}
	}
	return out
}

func redactedValue(flag, value string) string {
	if flag == "set" {
		key, v, _ := strings.Cut(value, "=")
		_, leaf, _ := strings.Cut(key, ".")
		for _, secret := range []string{"headers", "extra_body", "simulator"} {
			if leaf == secret || strings.HasPrefix(leaf, secret+".") {
				return key + "=<redacted>"
			}
		}
		return key + "=" + redactedValue("", v)
	}
	switch {
	case slices.Contains(hidingFlags, flag):
		return "<redacted>"
	case strings.Contains(value, "://"):
		return config.WithoutCredentials(value)
	}
	return value
}
