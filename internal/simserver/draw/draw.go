// Package draw is the simulated server's chance: numbers that depend on nothing
// but a seed, a purpose and a key, so that a request's fate does not depend on the
// order in which goroutines ran.
package draw

import "math"

// The purposes; each draws from a sequence of its own.
const (
	Error = iota + 1
	Length
	_ // Normal takes two
	Bimodal
	Mode
	Fault // and every thousandth after it: one for each fault
	Balance
	Wander
	_
)

// Chance returns a number in [0, 1) (SplitMix64 over the arguments' mix).
func Chance(seed uint64, purpose, key uint64) float64 {
	x := seed*0x9e3779b97f4a7c15 ^ purpose*0xd1342543de82ef95 ^ Mix(key)
	return float64(Mix(x)>>11) / (1 << 53)
}

// Normal returns a normal number of mean 0 and variance 1, out of the purpose and
// the one after it (Box-Muller).
func Normal(seed, purpose, key uint64) float64 {
	u, w := Chance(seed, purpose, key), Chance(seed, purpose+1, key)
	return math.Sqrt(-2*math.Log(1-u)) * math.Cos(2*math.Pi*w)
}

// Mix returns a hash of x.
func Mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
