//go:build !linux

package loadgen

import "runtime"

// cpuQuota is the number of CPUs this process may use.
func cpuQuota() float64 { return float64(runtime.GOMAXPROCS(0)) }

// Unknown here without asking the kernel in its own way.
func residentBytes() Number  { return Number{} }
func ephemeralPorts() Number { return Number{} }
