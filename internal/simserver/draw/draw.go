// Package draw is the simulated server's chance: numbers that depend on nothing
// but a seed, a purpose and a key, so that a request's fate does not depend on the
// order in which goroutines ran.
package draw

// The purposes; each draws from a sequence of its own.
const (
	Error = iota + 1
	Length
	Length2
	Bimodal
	Mode
	Fault // and every thousandth after it: one for each fault
)

// Chance returns a number in [0, 1) (SplitMix64 over the arguments' mix).
func Chance(seed uint64, purpose, key uint64) float64 {
	x := seed*0x9e3779b97f4a7c15 ^ purpose*0xd1342543de82ef95 ^ Mix(key)
	return float64(Mix(x)>>11) / (1 << 53)
}

// Mix returns a hash of x.
func Mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
